#include "shardlab/layers/batch_norm.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

namespace shardlab {

MicroBatchNorm::MicroBatchNorm(int64_t channels, double its_eps, double its_momentum, at::ScalarType dtype)
    : eps(its_eps), momentum(its_momentum) {
  weight = register_parameter("weight", at::ones({channels}, dtype));
  bias = register_parameter("bias", at::zeros({channels}, dtype));
  running_mean = register_buffer("running_mean", at::zeros({channels}, dtype));
  running_var = register_buffer("running_var", at::ones({channels}, dtype));
  num_batches_tracked = register_buffer("num_batches_tracked", at::zeros({}, at::kLong));
}

at::Tensor MicroBatchNorm::forward(const at::Tensor& x, const MicroBatch& at) {
  if (weight.size(0) == 0) {  // LibTorch has no batch_norm of nothing; the result stays in the graph all the same
    const bool ends = at.statistics == nullptr || at.index + 1 == at.count;
    if (is_training() && !at.recomputed && ends) num_batches_tracked.add_(1);
    std::vector<int64_t> shape(static_cast<size_t>(x.dim()), 1);
    shape[1] = 0;
    return x * weight.view(shape);
  }
  if (!is_training()) {
    return at::batch_norm(x, weight, bias, running_mean, running_var, false, momentum, eps, false);
  }
  const bool counts = !at.recomputed;
  const bool immediately = counts && at.statistics == nullptr;
  if (immediately) num_batches_tracked.add_(1);
  if (counts && at.statistics != nullptr) {
    const at::NoGradGuard no_grad;
    at.statistics->Track(*this, x.detach(), at);
  }
  return at::batch_norm(x, weight, bias, immediately ? running_mean : at::Tensor(),
                        immediately ? running_var : at::Tensor(), true, momentum, eps, false);
}

}  // namespace shardlab
