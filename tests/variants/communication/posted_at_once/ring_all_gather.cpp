#include "shardlab/communication/ring_all_gather.hpp"

#include <ATen/ATen.h>

namespace shardlab {

at::Tensor RingAllGather(Communicator& comm, const at::Tensor& mine, const std::vector<int64_t>& rows) {
  const int ranks = comm.size(), rank = comm.rank();
  std::vector<at::Tensor> parts;
  for (int64_t count : rows) {
    std::vector<int64_t> shape = mine.sizes().vec();
    shape[0] = count;
    parts.push_back(at::empty(shape, mine.options()));
  }
  parts[rank] = mine.contiguous();
  std::vector<std::unique_ptr<Work>> sends;
  for (int round = 0; round + 1 < ranks; ++round) {
    sends.push_back(comm.ISend(parts[(rank + ranks - round) % ranks], (rank + 1) % ranks, round));
    comm.IRecv(parts[(rank + ranks - round - 1) % ranks], (rank + ranks - 1) % ranks, round)->Wait();
  }
  for (auto& send : sends) send->Wait();
  return at::cat(parts);
}

}  // namespace shardlab
