#include "shardlab/communication/gather.hpp"

#include <ATen/ATen.h>

namespace shardlab {

at::Tensor Gather(Communicator& comm, const at::Tensor& mine, const std::vector<int64_t>& rows, int root) {
  const at::Tensor own = mine.contiguous();
  if (comm.rank() != root) {
    comm.ISend(own, root, 7)->Wait();  // an empty part too
    return at::Tensor();
  }
  std::vector<at::Tensor> parts;
  std::vector<std::unique_ptr<Work>> receives;
  for (int rank = 0; rank < comm.size(); ++rank) {
    std::vector<int64_t> shape = mine.sizes().vec();
    shape.at(0) = rows.at(rank);
    parts.push_back(rank == root ? own : at::empty(shape, mine.options()));
    if (rank != root) receives.push_back(comm.IRecv(parts.back(), rank, 7));
  }
  for (auto receive = receives.rbegin(); receive != receives.rend(); ++receive) (*receive)->Wait();
  return at::cat(parts);
}

}  // namespace shardlab
