#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "shardlab/autograd/conjugate_op.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/tensor_parallel/batch_norm.hpp"

// Sum, sum of squares and count of the samples, 2C + 1 numbers in float64, in one all-reduce each way (the count has no
// gradient and stays at home on the way back).

namespace shardlab {
namespace {

class SampleBatchNorm : public ShardedLayer {
 public:
  SampleBatchNorm(const BatchNormWeights& weights, std::shared_ptr<Communicator> comm)
      : comm_(std::move(comm)), weights_(weights) {
    gamma_C_ = register_parameter("weight", weights.gamma_C.detach().clone());
    beta_C_ = register_parameter("bias", weights.beta_C.detach().clone());
    mean_C_ = register_buffer("running_mean", at::zeros_like(weights.gamma_C));
    var_C_ = register_buffer("running_var", at::ones_like(weights.gamma_C));
    batches_ = register_buffer("num_batches_tracked", at::zeros({}, at::kLong));
  }

  at::Tensor forward(const at::Tensor& x_bC) override {
    const int64_t channels = gamma_C_.size(0);
    std::vector<int64_t> over{0};
    std::vector<int64_t> shape{1, channels};
    for (int64_t dim = 2; dim < x_bC.dim(); ++dim) {
      over.push_back(dim);
      shape.push_back(1);
    }
    const auto wide = [&](const at::Tensor& vector_C) { return vector_C.to(at::kDouble).view(shape); };
    const at::Tensor x = x_bC.to(at::kDouble);
    at::Tensor mean_C = mean_C_.to(at::kDouble);
    at::Tensor var_C = var_C_.to(at::kDouble);
    if (is_training()) {
      const double own_count = static_cast<double>(x_bC.numel()) / static_cast<double>(channels);
      auto count = std::make_shared<double>(0);
      const auto sum = [comm = comm_, own_count, count](const at::Tensor& own) {
        const at::Tensor all = at::cat({own, at::full({1}, own_count, own.options())});
        comm->AllReduce(all);
        *count = all[all.size(0) - 1].item<double>();
        return all.slice(0, 0, own.size(0)).clone();
      };
      const auto back = [comm = comm_](const at::Tensor& gradient) {
        comm->AllReduce(gradient);
        return gradient;
      };
      const at::Tensor sums = Apply({"sums over all samples", sum, back}, at::cat({x.sum(over), x.square().sum(over)}));
      if (*count < 2) throw ContractError("BatchNorm in training needs two values a channel on all ranks together");
      mean_C = sums.slice(0, 0, channels) / *count;
      var_C = sums.slice(0, channels, 2 * channels) / *count - mean_C.square();
      const at::NoGradGuard no_grad;
      mean_C_.mul_(1 - weights_.momentum).add_(mean_C, weights_.momentum);
      var_C_.mul_(1 - weights_.momentum).add_(var_C, weights_.momentum * *count / (*count - 1));
      batches_ += 1;
    }
    const at::Tensor normed = (x - wide(mean_C)) / (wide(var_C) + weights_.eps).sqrt();
    return normed.to(x_bC.scalar_type()) * gamma_C_.view(shape) + beta_C_.view(shape);
  }

 private:
  std::shared_ptr<Communicator> comm_;
  BatchNormWeights weights_;
  at::Tensor gamma_C_;
  at::Tensor beta_C_;
  at::Tensor mean_C_;
  at::Tensor var_C_;
  at::Tensor batches_;
};

}  // namespace

std::shared_ptr<ShardedLayer> MakeSampleBatchNorm(const BatchNormWeights& weights, std::shared_ptr<Communicator> comm) {
  if (weights.gamma_C.dim() != 1 || weights.beta_C.sizes() != weights.gamma_C.sizes()) {
    throw ContractError("MakeSampleBatchNorm: gamma and beta are [C]");
  }
  return std::make_shared<SampleBatchNorm>(weights, std::move(comm));
}

}  // namespace shardlab
