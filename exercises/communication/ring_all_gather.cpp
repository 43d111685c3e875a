#include "shardlab/communication/ring_all_gather.hpp"

// TASK communication.ring: RingAllGather
//
// Collect every rank's rows on every rank. In each of T - 1 rounds hand to rank + 1 what arrived in the round before,
// and receive another part from rank - 1.
//
//               rank 0      rank 1      rank 2      rank 3          T = 4; the parts that a rank has
//     at first  A . . .     . B . .     . . C .     . . . D
//     round 0   A . . D     A B . .     . B C .     . . C D
//     round 1   A . C D     A B . D     A B C .     . B C D
//     round 2   A B C D     A B C D     A B C D     A B C D
//
// Which part does rank r send in round k, and which one arrives?
//
//  * The neighbours of the last and of the first rank are each other.
//  * -1 % 4 is -1 in C++.
//  * If everybody is in Send, who receives?
//  * T = 1: no round at all, and still a new tensor. Some parts may have no rows.

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

at::Tensor RingAllGather(Communicator& comm, const at::Tensor& mine, const std::vector<int64_t>& rows) {
  (void)comm, (void)mine, (void)rows;
  throw NotImplemented("communication.ring: RingAllGather (exercises/communication/ring_all_gather.cpp)");
}

}  // namespace shardlab
