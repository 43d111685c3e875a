#include "shardlab/communication/ring_reduce_scatter.hpp"

// The reduce-scatter around a ring
// ================================
// Part c sets out from rank c + 1, collects every rank's summand on its way round, and is complete when it comes home
// to rank c. T = 4; part 0's journey, a_r being rank r's own part 0:
//
//     rank 1            rank 2                rank 3                    rank 0
//      a1  --round 0-->  a1+a2  --round 1-->  a1+a2+a3  --round 2-->  a1+a2+a3+a0 = part 0 of the sum
//
//     (1)  So in round k rank r sends part (r - 1 - k) mod T, and receives part (r - 2 - k) mod T, to which it adds its
//          own. In the last round, k = T - 2, that is part (r - T) mod T = r: its own.
//     (2)  Only what travels is copied: the input stays as it is.
//     (3)  A rank alone keeps its whole input, and no round takes place.

#include <ATen/ATen.h>

#include "shardlab/base/split.hpp"

namespace shardlab {

at::Tensor RingReduceScatter(Communicator& comm, const at::Tensor& input) {
  const int ranks = comm.size(), rank = comm.rank();
  const int right = (rank + 1) % ranks, left = (rank - 1 + ranks) % ranks;
  const std::vector<at::Tensor> parts = input.split_with_sizes(SplitSizes(input.size(0), ranks));  // views of input
  const auto part = [&](int index) { return parts[(index + 2 * ranks) % ranks]; };

  at::Tensor travelling = part(rank - 1).clone(at::MemoryFormat::Contiguous);  // (2) (3)
  for (int round = 0; round < ranks - 1; ++round) {
    const at::Tensor own = part(rank - 2 - round);  // (1)
    at::Tensor arriving = at::empty(own.sizes(), own.options());
    auto send = comm.ISend(travelling, right);
    comm.Recv(arriving, left);
    send->Wait();
    travelling = arriving.add_(own);
  }
  return travelling;
}

}  // namespace shardlab
