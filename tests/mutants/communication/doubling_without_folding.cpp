#include <ATen/ATen.h>

#include "shardlab/communication/recursive_doubling.hpp"

namespace shardlab {

at::Tensor RecursiveDoublingAllReduce(Communicator& comm, const at::Tensor& input) {
  at::Tensor sum = input.clone(at::MemoryFormat::Contiguous);
  const at::Tensor arrived = at::empty_like(sum);
  for (int bit = 1; bit < comm.size(); bit *= 2) {
    const int partner = comm.rank() ^ bit;
    if (partner >= comm.size()) continue;
    auto send = comm.ISend(sum, partner);
    comm.Recv(arrived, partner);
    send->Wait();
    sum.add_(arrived);
  }
  return sum;
}

}  // namespace shardlab
