#include <algorithm>
#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/tensor_parallel/batch_norm.hpp"

// BatchNorm written out, with the channels in front: x becomes a matrix [c, values], and autograd does the rest. It
// works without a channel as well.

namespace shardlab {
namespace {

class FeatureBatchNorm : public ShardedLayer {
 public:
  FeatureBatchNorm(const BatchNormWeights& weights, const Range& mine)
      : eps_(weights.eps), momentum_(weights.momentum) {
    gamma_ = register_parameter("weight", weights.gamma_C.detach().slice(0, mine.begin, mine.end).clone());
    beta_ = register_parameter("bias", weights.beta_C.detach().slice(0, mine.begin, mine.end).clone());
    mean_ = register_buffer("running_mean", at::zeros({mine.size()}, gamma_.options().requires_grad(false)));
    var_ = register_buffer("running_var", at::ones({mine.size()}, gamma_.options().requires_grad(false)));
    batches_ = register_buffer("num_batches_tracked", at::scalar_tensor(0, at::kLong));
  }

  at::Tensor forward(const at::Tensor& x) override {
    const at::Tensor values_cN = x.transpose(0, 1).reshape({x.size(1), x.numel() / std::max<int64_t>(x.size(1), 1)});
    at::Tensor mean = mean_.unsqueeze(1);
    at::Tensor var = var_.unsqueeze(1);
    if (is_training()) {
      const auto n = static_cast<double>(values_cN.size(1));
      mean = values_cN.sum(1, true) / n;
      var = (values_cN - mean).square().sum(1, true) / n;
      mean_.lerp_(mean.detach().squeeze(1), momentum_);
      var_.lerp_(var.detach().squeeze(1) * (n / (n - 1)), momentum_);
      batches_ += 1;
    }
    const at::Tensor y_cN = (values_cN - mean) / (var + eps_).sqrt() * gamma_.unsqueeze(1) + beta_.unsqueeze(1);
    std::vector<int64_t> channels_first = x.sizes().vec();
    std::swap(channels_first[0], channels_first[1]);
    return y_cN.view(channels_first).transpose(0, 1);
  }

 private:
  double eps_;
  double momentum_;
  at::Tensor gamma_;
  at::Tensor beta_;
  at::Tensor mean_;
  at::Tensor var_;
  at::Tensor batches_;
};

}  // namespace

std::shared_ptr<ShardedLayer> MakeFeatureBatchNorm(const BatchNormWeights& weights,
                                                   std::shared_ptr<Communicator> comm) {
  if (weights.gamma_C.dim() != 1 || !weights.gamma_C.sizes().equals(weights.beta_C.sizes())) {
    throw ContractError("MakeFeatureBatchNorm: gamma and beta are [C]");
  }
  return std::make_shared<FeatureBatchNorm>(weights, SplitRange(weights.gamma_C.numel(), comm->size(), comm->rank()));
}

}  // namespace shardlab
