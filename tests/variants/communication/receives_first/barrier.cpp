#include "shardlab/communication/barrier.hpp"

#include <ATen/ATen.h>

#include <memory>
#include <vector>

namespace shardlab {

void Barrier(Communicator& comm) {
  const int ranks = comm.size(), rank = comm.rank();
  std::vector<int> distances;
  for (int distance = 1; distance < ranks; distance *= 2) distances.push_back(distance);

  // All receives are posted at once; only the sends keep the rounds apart.
  std::vector<at::Tensor> heard;
  std::vector<std::unique_ptr<Work>> receives;
  for (int distance : distances) {
    heard.push_back(at::empty({}, at::kLong));
    receives.push_back(comm.IRecv(heard.back(), (rank + ranks - distance) % ranks));
  }
  for (size_t round = 0; round < distances.size(); ++round) {
    comm.Send(at::scalar_tensor(rank, at::kLong), (rank + distances[round]) % ranks);
    receives[round]->Wait();
  }
}

}  // namespace shardlab
