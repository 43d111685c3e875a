#include "shardlab/communication/tree_broadcast.hpp"

#include <ATen/ATen.h>

namespace shardlab {

// From the top: in the step of `half`, every rank whose number is a multiple of 2 * half serves the one half away.
at::Tensor TreeBroadcast(Communicator& comm, const at::Tensor& value, int root) {
  const int ranks = comm.size();
  const int number = (comm.rank() + ranks - root) % ranks;
  at::Tensor tensor = value.clone(at::MemoryFormat::Contiguous);
  std::vector<std::unique_ptr<Work>> sends;
  int half = 1;
  while (half < ranks) half *= 2;
  for (half /= 2; half >= 1; half /= 2) {
    if (number % (2 * half) == half) comm.IRecv(tensor, (number - half + root) % ranks)->Wait();
    if (number % (2 * half) == 0 && number + half < ranks) {
      sends.push_back(comm.ISend(tensor, (number + half + root) % ranks));
    }
  }
  for (auto& send : sends) send->Wait();
  return tensor;
}

}  // namespace shardlab
