#include <ATen/ATen.h>

#include <memory>
#include <vector>

#include "shardlab/communication/barrier.hpp"

namespace shardlab {

void Barrier(Communicator& comm) {
  const int ranks = comm.size(), rank = comm.rank();
  const at::Tensor here = at::zeros({1}, at::kByte);
  std::vector<at::Tensor> heard;
  std::vector<std::unique_ptr<Work>> works;
  for (int distance = 1; distance < ranks; distance *= 2) {
    heard.push_back(at::zeros({1}, at::kByte));
    works.push_back(comm.ISend(here, (rank + distance) % ranks));
    works.push_back(comm.IRecv(heard.back(), (rank - distance + ranks) % ranks));
  }
  for (auto& work : works) work->Wait();
}

}  // namespace shardlab
