#include <ATen/ATen.h>

#include <numeric>

#include "shardlab/communication/scatter.hpp"

namespace shardlab {

at::Tensor Scatter(Communicator& comm, const at::Tensor& whole, const std::vector<int64_t>& rows, int root) {
  std::vector<int64_t> shape = whole.sizes().vec();
  shape[0] = std::accumulate(rows.begin(), rows.end(), int64_t{0});
  at::Tensor all = at::empty(shape, whole.options());
  if (comm.rank() == root) {
    all.copy_(whole);
    for (int rank = 0; rank < comm.size(); ++rank) {
      if (rank != root) comm.Send(all, rank);
    }
  } else {
    comm.Recv(all, root);
  }
  const int64_t begin = std::accumulate(rows.begin(), rows.begin() + comm.rank(), int64_t{0});
  return all.narrow(0, begin, rows[comm.rank()]).clone();
}

}  // namespace shardlab
