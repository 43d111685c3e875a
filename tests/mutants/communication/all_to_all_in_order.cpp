#include <ATen/ATen.h>

#include <numeric>

#include "shardlab/base/errors.hpp"
#include "shardlab/communication/all_to_all.hpp"

namespace shardlab {

at::Tensor AllToAll(Communicator& comm, const at::Tensor& input, const std::vector<int64_t>& send_rows,
                    const std::vector<int64_t>& receive_rows) {
  std::vector<int64_t> shape = input.sizes().vec();
  shape[0] = std::accumulate(receive_rows.begin(), receive_rows.end(), int64_t{0});
  const at::Tensor result = at::empty(shape, input.options());
  const std::vector<at::Tensor> leaving = input.contiguous().split_with_sizes(send_rows);
  const std::vector<at::Tensor> arriving = result.split_with_sizes(receive_rows);
  arriving[comm.rank()].copy_(leaving[comm.rank()]);
  for (int rank = 0; rank < comm.size(); ++rank) {
    if (rank != comm.rank() && leaving[rank].numel() > 0) comm.Send(leaving[rank], rank);
  }
  for (int rank = 0; rank < comm.size(); ++rank) {
    if (rank != comm.rank() && arriving[rank].numel() > 0) comm.Recv(arriving[rank], rank);
  }
  return result;
}

}  // namespace shardlab
