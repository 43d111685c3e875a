#include "shardlab/communication/all_to_all.hpp"

// TASK communication.alltoall: AllToAll
//
// Every rank sends some of its rows to every other rank, straight, in one round.
//
//              to 0   to 1   to 2                     from 0  from 1  from 2
//     rank 0   [00]    01     02            rank 0     [00]     10      20
//     rank 1    10    [11]    12     ->     rank 1      01     [11]     21
//     rank 2    20     21    [22]           rank 2      02      12     [22]
//
// Each entry is a number of rows, send_rows[b] of rank a and receive_rows[a] of rank b, and may be 0. The diagonal
// stays at home.
//
//  * Nobody should wait for anybody's order: post what you receive, start what you send, then wait for all.
//  * Refuse with ContractError, on the rank that was called wrongly and before it sends anything: lists without T
//    numbers, a negative number, send_rows that do not add up to the input's rows.

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

at::Tensor AllToAll(Communicator& comm, const at::Tensor& input, const std::vector<int64_t>& send_rows,
                    const std::vector<int64_t>& receive_rows) {
  (void)comm, (void)input, (void)send_rows, (void)receive_rows;
  throw NotImplemented("communication.alltoall: AllToAll (exercises/communication/all_to_all.cpp)");
}

}  // namespace shardlab
