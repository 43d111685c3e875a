#include "shardlab/communication/scatter.hpp"

#include <ATen/ATen.h>

namespace shardlab {

at::Tensor Scatter(Communicator& comm, const at::Tensor& whole, const std::vector<int64_t>& rows, int root) {
  if (comm.rank() != root) {
    std::vector<int64_t> shape = whole.sizes().vec();
    shape.at(0) = rows.at(comm.rank());
    const at::Tensor mine = whole.new_empty(shape);
    comm.IRecv(mine, root)->Wait();  // an empty part too
    return mine;
  }
  std::vector<at::Tensor> parts;
  std::vector<std::unique_ptr<Work>> sends;
  for (const at::Tensor& part : whole.split_with_sizes(rows)) parts.push_back(part.clone(at::MemoryFormat::Contiguous));
  for (int rank = comm.size() - 1; rank >= 0; --rank) {
    if (rank != root) sends.push_back(comm.ISend(parts[rank], rank));
  }
  for (auto& send : sends) send->Wait();
  return parts[root];
}

}  // namespace shardlab
