#include <utility>

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/tensor_parallel/batch_norm.hpp"

// A channel is normalised by its own statistics, over the samples. A rank that has some channels has ALL samples of
// them:
//
//              channels
//             rank 0 | rank 1
//     s     +--------+--------+
//     a     |   |    |   |    |      the statistics run down the columns, the cut runs between them:
//     m     |   v    |   v    |      nothing has to be said
//     ples  +--------+--------+
//
// So this is LibTorch's own batch_norm on the shard. The communicator serves only to know which channels are ours.

namespace shardlab {
namespace {

class FeatureBatchNorm : public ShardedLayer {
 public:
  FeatureBatchNorm(const BatchNormWeights& weights, const Communicator& comm)
      : eps_(weights.eps), momentum_(weights.momentum) {
    const Range c = SplitRange(weights.gamma_C.size(0), comm.size(), comm.rank());
    gamma_c_ = register_parameter("weight", weights.gamma_C.detach().narrow(0, c.begin, c.size()).clone());
    beta_c_ = register_parameter("bias", weights.beta_C.detach().narrow(0, c.begin, c.size()).clone());
    running_mean_c_ = register_buffer("running_mean", at::zeros_like(gamma_c_));
    running_var_c_ = register_buffer("running_var", at::ones_like(gamma_c_));
    batches_ = register_buffer("num_batches_tracked", at::zeros({}, at::kLong));
  }

  at::Tensor forward(const at::Tensor& x_Bc) override {
    if (is_training()) batches_ += 1;
    if (x_Bc.size(1) == 0) return x_Bc.clone();  // more ranks than channels: LibTorch has no batch_norm of nothing
    return at::batch_norm(x_Bc, gamma_c_, beta_c_, running_mean_c_, running_var_c_, is_training(), momentum_, eps_,
                          /*cudnn_enabled=*/false);
  }

 private:
  double eps_;
  double momentum_;
  at::Tensor gamma_c_;
  at::Tensor beta_c_;
  at::Tensor running_mean_c_;
  at::Tensor running_var_c_;
  at::Tensor batches_;
};

}  // namespace

std::shared_ptr<ShardedLayer> MakeFeatureBatchNorm(const BatchNormWeights& weights,
                                                   std::shared_ptr<Communicator> comm) {
  if (weights.gamma_C.dim() != 1 || weights.beta_C.sizes() != weights.gamma_C.sizes()) {
    throw ContractError("MakeFeatureBatchNorm: gamma and beta are [C] with one C");
  }
  return std::make_shared<FeatureBatchNorm>(weights, *comm);
}

}  // namespace shardlab
