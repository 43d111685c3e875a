#include <ATen/ATen.h>

#include "shardlab/communication/barrier.hpp"

namespace shardlab {

void Barrier(Communicator& comm) {
  const at::Tensor message = at::zeros({1}, at::kByte);
  if (comm.rank() != 0) {
    comm.Send(message, 0);
    comm.Recv(message, 0);
    return;
  }
  for (int rank = 1; rank < comm.size(); ++rank) comm.Recv(message, rank);
  for (int rank = 1; rank < comm.size(); ++rank) comm.Send(message, rank);
}

}  // namespace shardlab
