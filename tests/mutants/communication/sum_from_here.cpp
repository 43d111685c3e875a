#include <ATen/ATen.h>

#include "shardlab/communication/ring_all_reduce.hpp"

namespace shardlab {

at::Tensor RingAllReduce(Communicator& comm, const at::Tensor& input) {
  const int ranks = comm.size(), rank = comm.rank();
  at::Tensor travelling = input.clone(at::MemoryFormat::Contiguous), sum = travelling.clone();
  for (int round = 0; round < ranks - 1; ++round) {
    const at::Tensor arriving = at::empty_like(travelling);
    auto send = comm.ISend(travelling, (rank + 1) % ranks);
    comm.Recv(arriving, (rank - 1 + ranks) % ranks);
    send->Wait();
    sum.add_(arriving);
    travelling = arriving;
  }
  return sum;
}

}  // namespace shardlab
