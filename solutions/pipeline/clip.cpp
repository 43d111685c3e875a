#include "shardlab/pipeline/clip.hpp"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>

// Norms of parts do not add up, their squares do:
//
//     rank 0: |g0|^2 = 9  ---+
//     rank 1: |g1|^2 = 16 ---+--- all-reduce --->  25  --->  norm 5 on every rank, so the same factor on every rank
//
// The sum is a float64: squares of float32 gradients overflow, or vanish, long before the gradients do.

namespace shardlab {

double ClipGradients(const std::vector<at::Tensor>& gradients, double max_norm, Communicator& comm,
                     const std::vector<double>& counts) {
  at::Tensor squares = at::zeros({}, at::kDouble);
  for (size_t i = 0; i < gradients.size(); ++i) {
    const at::Tensor& gradient = gradients[i];
    squares += gradient.to(at::kDouble).square().sum().to(at::kCPU) * (counts.empty() ? 1.0 : counts[i]);
  }
  comm.AllReduce(squares);

  const double norm = std::sqrt(squares.item<double>());
  const double scale = std::min(1.0, max_norm / (norm + 1e-6));
  if (scale < 1) {
    for (at::Tensor gradient : gradients) gradient.mul_(scale);
  }
  return norm;
}

}  // namespace shardlab
