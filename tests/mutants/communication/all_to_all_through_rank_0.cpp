#include <ATen/ATen.h>

#include <numeric>

#include "shardlab/communication/all_to_all.hpp"

namespace shardlab {

at::Tensor AllToAll(Communicator& comm, const at::Tensor& input, const std::vector<int64_t>& send_rows,
                    const std::vector<int64_t>& receive_rows) {
  const int ranks = comm.size(), rank = comm.rank();
  if (rank != 0) {
    std::vector<int64_t> shape = input.sizes().vec();
    shape[0] = std::accumulate(receive_rows.begin(), receive_rows.end(), int64_t{0});
    const at::Tensor result = at::empty(shape, input.options());
    comm.Send(at::tensor(send_rows, at::kLong), 0);
    comm.Send(input.contiguous(), 0);
    comm.Recv(result, 0);
    return result;
  }
  std::vector<std::vector<at::Tensor>> parts;
  parts.push_back(input.contiguous().split_with_sizes(send_rows));
  for (int from = 1; from < ranks; ++from) {
    const at::Tensor theirs = at::empty({ranks}, at::kLong);
    comm.Recv(theirs, from);
    const std::vector<int64_t> rows(theirs.data_ptr<int64_t>(), theirs.data_ptr<int64_t>() + ranks);
    std::vector<int64_t> shape = input.sizes().vec();
    shape[0] = std::accumulate(rows.begin(), rows.end(), int64_t{0});
    const at::Tensor whole = at::empty(shape, input.options());
    comm.Recv(whole, from);
    parts.push_back(whole.split_with_sizes(rows));
  }
  at::Tensor mine;
  for (int to = 0; to < ranks; ++to) {
    std::vector<at::Tensor> column;
    for (int from = 0; from < ranks; ++from) column.push_back(parts[from][to]);
    const at::Tensor whole = at::cat(column);
    if (to == 0) mine = whole;
    if (to != 0) comm.Send(whole, to);
  }
  return mine;
}

}  // namespace shardlab
