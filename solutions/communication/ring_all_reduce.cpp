#include "shardlab/communication/ring_all_reduce.hpp"

// The all-reduce around a ring
// ============================
// Two trips: the first leaves every rank with one chunk of the sum, the second one hands the chunks to everybody.
//
//     flat input    reduce-scatter           all-gather
//     A B C D  ->   rank 0:  A               A B C D
//     A B C D  ->   rank 1:    B             A B C D       capital letters: summed over all ranks
//     A B C D  ->   rank 2:      C           A B C D
//     A B C D  ->   rank 3:        D         A B C D
//
//     (1)  Chunks of elements, not of rows: flattened, a tensor of any shape divides as evenly as it can.
//     (2)  T - 1 rounds and (T - 1) * S bytes each way: 2(T - 1) rounds and 2(T - 1) * S bytes in all.
//     (3)  Every chunk is summed in one place and then copied, so the bits are the same on every rank, whatever the
//          rounding.

#include <ATen/ATen.h>

#include "shardlab/base/split.hpp"
#include "shardlab/communication/ring_all_gather.hpp"
#include "shardlab/communication/ring_reduce_scatter.hpp"

namespace shardlab {

at::Tensor RingAllReduce(Communicator& comm, const at::Tensor& input) {
  const at::Tensor flat = input.reshape({-1});             // (1)
  const at::Tensor chunk = RingReduceScatter(comm, flat);  // (2)
  const auto sizes = SplitSizes(flat.numel(), comm.size());
  return RingAllGather(comm, chunk, sizes).view(input.sizes());  // (2) (3)
}

}  // namespace shardlab
