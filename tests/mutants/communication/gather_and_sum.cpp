#include <ATen/ATen.h>

#include "shardlab/communication/ring_all_gather.hpp"
#include "shardlab/communication/ring_all_reduce.hpp"

namespace shardlab {

at::Tensor RingAllReduce(Communicator& comm, const at::Tensor& input) {
  const std::vector<int64_t> one_each(comm.size(), 1);
  const at::Tensor all = RingAllGather(comm, input.unsqueeze(0), one_each);
  at::Tensor sum = all[0].clone();
  for (int rank = 1; rank < comm.size(); ++rank) sum.add_(all[rank]);
  return sum;
}

}  // namespace shardlab
