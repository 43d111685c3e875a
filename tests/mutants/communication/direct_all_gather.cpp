#include <ATen/ATen.h>

#include <numeric>

#include "shardlab/communication/ring_all_gather.hpp"

namespace shardlab {

at::Tensor RingAllGather(Communicator& comm, const at::Tensor& mine, const std::vector<int64_t>& rows) {
  std::vector<int64_t> shape = mine.sizes().vec();
  shape[0] = std::accumulate(rows.begin(), rows.end(), int64_t{0});
  at::Tensor result = at::empty(shape, mine.options());
  const std::vector<at::Tensor> parts = result.split_with_sizes(rows);
  parts[comm.rank()].copy_(mine);
  std::vector<std::unique_ptr<Work>> works;
  for (int rank = 0; rank < comm.size(); ++rank) {
    if (rank != comm.rank()) works.push_back(comm.IRecv(parts[rank], rank));
  }
  for (int rank = 0; rank < comm.size(); ++rank) {
    if (rank != comm.rank()) works.push_back(comm.ISend(parts[comm.rank()], rank));
  }
  for (auto& work : works) work->Wait();
  return result;
}

}  // namespace shardlab
