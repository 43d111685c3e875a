#include "kit/parts.hpp"

#include <numeric>

#include <ATen/ATen.h>

namespace shardlab::grade {

int64_t Total(const std::vector<int64_t>& numbers) {
  return std::accumulate(numbers.begin(), numbers.end(), int64_t{0});
}

at::Tensor SumOf(const std::vector<at::Tensor>& tensors) {
  at::Tensor sum = tensors[0].clone();
  for (size_t i = 1; i < tensors.size(); ++i) sum.add_(tensors[i]);
  return sum;
}

at::Tensor RowsOf(const at::Tensor& whole, const std::vector<int64_t>& rows, int rank) {
  const int64_t begin = std::accumulate(rows.begin(), rows.begin() + rank, int64_t{0});
  return whole.narrow(0, begin, rows[static_cast<size_t>(rank)]).contiguous();
}

std::vector<at::Tensor> AllRowsOf(const at::Tensor& whole, const std::vector<int64_t>& rows) {
  std::vector<at::Tensor> all;
  for (int rank = 0; rank < static_cast<int>(rows.size()); ++rank) all.push_back(RowsOf(whole, rows, rank));
  return all;
}

}  // namespace shardlab::grade
