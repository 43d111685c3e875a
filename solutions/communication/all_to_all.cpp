#include "shardlab/communication/all_to_all.hpp"

// The all-to-all
// ==============
// Write the parts of all ranks below each other, as a matrix whose entry (a, b) goes from a to b: an all-to-all
// transposes it.
//
//              to 0   to 1   to 2                     from 0  from 1  from 2
//     rank 0   [00]    01     02            rank 0     [00]     10      20
//     rank 1    10    [11]    12     ->     rank 1      01     [11]     21
//     rank 2    20     21    [22]           rank 2      02      12     [22]
//
//     (1)  The diagonal stays at home.
//     (2)  Every rank posts all its receives, then starts all its sends, then waits: nobody waits for anybody's order.
//     (3)  In distance order rank r begins with r + 1, not with rank 0: otherwise all would fall upon rank 0 at once.
//     (4)  Sizes that do not add up are refused before the first message: a peer would wait for rows that never come.

#include <ATen/ATen.h>

#include <numeric>

#include "shardlab/base/errors.hpp"

namespace shardlab {
namespace {

void Check(const std::vector<int64_t>& rows, int ranks, const char* what) {
  if (static_cast<int>(rows.size()) != ranks) {
    throw ContractError(std::string("AllToAll: ") + what + " has " + std::to_string(rows.size()) + " numbers; " +
                        std::to_string(ranks) + " ranks need " + std::to_string(ranks));
  }
  for (int64_t count : rows) {
    if (count < 0) throw ContractError(std::string("AllToAll: ") + what + " has a negative number of rows");
  }
}

}  // namespace

at::Tensor AllToAll(Communicator& comm, const at::Tensor& input, const std::vector<int64_t>& send_rows,
                    const std::vector<int64_t>& receive_rows) {
  const int ranks = comm.size(), rank = comm.rank();
  Check(send_rows, ranks, "send_rows");  // (4)
  Check(receive_rows, ranks, "receive_rows");
  const int64_t to_send = std::accumulate(send_rows.begin(), send_rows.end(), int64_t{0});
  if (to_send != input.size(0)) {
    throw ContractError("AllToAll: send_rows add up to " + std::to_string(to_send) + ", but the input has " +
                        std::to_string(input.size(0)) + " rows");
  }

  std::vector<int64_t> shape = input.sizes().vec();
  shape[0] = std::accumulate(receive_rows.begin(), receive_rows.end(), int64_t{0});
  const at::Tensor result = at::empty(shape, input.options());
  const std::vector<at::Tensor> leaving = input.contiguous().split_with_sizes(send_rows);
  const std::vector<at::Tensor> arriving = result.split_with_sizes(receive_rows);

  arriving[rank].copy_(leaving[rank]);  // (1)
  std::vector<std::unique_ptr<Work>> works;
  for (int distance = 1; distance < ranks; ++distance) {  // (2)
    const int from = (rank - distance + ranks) % ranks;
    if (arriving[from].numel() > 0) works.push_back(comm.IRecv(arriving[from], from));
  }
  for (int distance = 1; distance < ranks; ++distance) {
    const int to = (rank + distance) % ranks;  // (3)
    if (leaving[to].numel() > 0) works.push_back(comm.ISend(leaving[to], to));
  }
  for (auto& work : works) work->Wait();
  return result;
}

}  // namespace shardlab
