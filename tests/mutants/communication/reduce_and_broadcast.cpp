#include <ATen/ATen.h>

#include "shardlab/communication/ring_all_reduce.hpp"
#include "shardlab/communication/tree_broadcast.hpp"
#include "shardlab/communication/tree_reduce.hpp"

namespace shardlab {

at::Tensor RingAllReduce(Communicator& comm, const at::Tensor& input) {
  const at::Tensor sum = TreeReduce(comm, input, 0);
  return TreeBroadcast(comm, comm.rank() == 0 ? sum : input, 0);
}

}  // namespace shardlab
