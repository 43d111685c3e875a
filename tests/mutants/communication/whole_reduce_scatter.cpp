#include <ATen/ATen.h>

#include "shardlab/base/split.hpp"
#include "shardlab/communication/ring_reduce_scatter.hpp"

namespace shardlab {

at::Tensor RingReduceScatter(Communicator& comm, const at::Tensor& input) {
  const int ranks = comm.size(), rank = comm.rank();
  at::Tensor sum = input.clone(at::MemoryFormat::Contiguous), travelling = sum.clone();
  for (int round = 0; round < ranks - 1; ++round) {
    const at::Tensor arriving = at::empty_like(travelling);
    auto send = comm.ISend(travelling, (rank + 1) % ranks);
    comm.Recv(arriving, (rank - 1 + ranks) % ranks);
    send->Wait();
    sum.add_(arriving);
    travelling = arriving;
  }
  const Range mine = SplitRange(input.size(0), ranks, rank);
  return sum.narrow(0, mine.begin, mine.size()).clone();
}

}  // namespace shardlab
