#include <ATen/ATen.h>

#include "shardlab/communication/tree_broadcast.hpp"

namespace shardlab {

at::Tensor TreeBroadcast(Communicator& comm, const at::Tensor& value, int root) {
  at::Tensor tensor = value.clone(at::MemoryFormat::Contiguous);
  if (comm.rank() != root) {
    comm.Recv(tensor, root);
    return tensor;
  }
  for (int rank = 0; rank < comm.size(); ++rank) {
    if (rank != root) comm.Send(tensor, rank);
  }
  return tensor;
}

}  // namespace shardlab
