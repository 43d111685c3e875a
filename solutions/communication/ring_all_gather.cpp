#include "shardlab/communication/ring_all_gather.hpp"

// The all-gather around a ring
// ============================
// Everybody passes to the right what came from the left. T = 4; the letters are the parts that a rank has.
//
//               rank 0      rank 1      rank 2      rank 3
//     at first  A . . .     . B . .     . . C .     . . . D
//     round 0   A . . D     A B . .     . B C .     . . C D      sent: part rank
//     round 1   A . C D     A B . D     A B C .     . B C D      sent: part rank - 1
//     round 2   A B C D     A B C D     A B C D     A B C D      sent: part rank - 2
//
//     (1)  In round k a rank sends part (rank - k) mod T, and receives part (rank - k - 1) mod T: the very part that it
//          sends in round k + 1.
//     (2)  C++'s % keeps the sign of the left side: -1 % 4 is -1. Adding T first keeps the index from 0 to T - 1.
//     (3)  ISend before Recv: were everybody in Send, nobody would ever receive.

#include <ATen/ATen.h>

namespace shardlab {

at::Tensor RingAllGather(Communicator& comm, const at::Tensor& mine, const std::vector<int64_t>& rows) {
  const int ranks = comm.size(), rank = comm.rank();
  const int right = (rank + 1) % ranks, left = (rank - 1 + ranks) % ranks;

  int64_t total = 0;
  for (int64_t count : rows) total += count;
  std::vector<int64_t> shape = mine.sizes().vec();
  shape[0] = total;
  at::Tensor result = at::empty(shape, mine.options());
  const std::vector<at::Tensor> parts = result.split_with_sizes(rows);  // views into result, contiguous ones
  parts[rank].copy_(mine);

  for (int round = 0; round < ranks - 1; ++round) {
    const at::Tensor& leaving = parts[(rank - round + ranks) % ranks];       // (1) (2)
    const at::Tensor& arriving = parts[(rank - round - 1 + ranks) % ranks];  // (1) (2)
    auto send = comm.ISend(leaving, right);                                  // (3)
    comm.Recv(arriving, left);
    send->Wait();
  }
  return result;
}

}  // namespace shardlab
