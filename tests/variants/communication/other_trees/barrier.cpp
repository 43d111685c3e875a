#include "shardlab/communication/barrier.hpp"

#include <ATen/ATen.h>

namespace shardlab {

void Barrier(Communicator& comm) {
  const int ranks = comm.size();
  const at::Tensor nothing = at::empty({0}, at::kFloat);
  int distance = 1;
  while (distance < ranks) distance *= 2;
  for (distance /= 2; distance >= 1; distance /= 2) {
    auto receive = comm.IRecv(nothing, (comm.rank() + distance) % ranks);
    auto send = comm.ISend(nothing, (comm.rank() + ranks - distance) % ranks);
    receive->Wait();
    send->Wait();
  }
}

}  // namespace shardlab
