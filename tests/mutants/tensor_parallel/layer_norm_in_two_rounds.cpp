#include "shardlab/tensor_parallel/layer_norm.hpp"

#include <utility>

#include <ATen/ATen.h>

#include "shardlab/autograd/conjugate_op.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"

namespace shardlab {
namespace {

// s_2B = (mean, var) of every row of x_Bd, in two rounds.
ConjugateOp RowStatistics(int64_t features, std::shared_ptr<Communicator> comm) {
  struct Saved {
    at::Tensor x_Bd;
    at::Tensor mean_B1;
  };
  auto saved = std::make_shared<Saved>();

  const auto forward = [=](const at::Tensor& x_Bd) {
    const at::Tensor mean_B = x_Bd.sum(-1).contiguous();
    comm->AllReduce(mean_B);
    mean_B.div_(features);
    const at::Tensor var_B = (x_Bd - mean_B.unsqueeze(-1)).square().sum(-1).contiguous();
    comm->AllReduce(var_B);
    var_B.div_(features);
    *saved = {x_Bd, mean_B.unsqueeze(-1)};
    return at::stack({mean_B, var_B});
  };

  const auto backward = [=](const at::Tensor& ds_2B) {
    comm->AllReduce(ds_2B);
    const at::Tensor dmean_B1 = ds_2B[0].unsqueeze(-1);
    const at::Tensor dvar_B1 = ds_2B[1].unsqueeze(-1);
    return (dmean_B1 + dvar_B1 * 2 * (saved->x_Bd - saved->mean_B1)) / features;
  };

  return {"LayerNorm's statistics", forward, backward};
}

class ShardedLayerNorm : public ShardedLayer {
 public:
  ShardedLayerNorm(const at::Tensor& gamma_D, const at::Tensor& beta_D, double eps, std::shared_ptr<Communicator> comm)
      : comm_(std::move(comm)), features_(gamma_D.size(0)), eps_(eps) {
    const Range d = SplitRange(features_, comm_->size(), comm_->rank());
    gamma_d_ = register_parameter("weight", gamma_D.detach().narrow(0, d.begin, d.size()).clone());
    beta_d_ = register_parameter("bias", beta_D.detach().narrow(0, d.begin, d.size()).clone());
  }

  at::Tensor forward(const at::Tensor& x_Bd) override {
    const at::Tensor s_2B = Apply(RowStatistics(features_, comm_), x_Bd);
    const at::Tensor mean_B1 = s_2B[0].unsqueeze(-1);
    const at::Tensor var_B1 = s_2B[1].unsqueeze(-1);
    return (x_Bd - mean_B1) * (var_B1 + eps_).rsqrt() * gamma_d_ + beta_d_;
  }

 private:
  std::shared_ptr<Communicator> comm_;
  int64_t features_;
  double eps_;
  at::Tensor gamma_d_;
  at::Tensor beta_d_;
};

}  // namespace

std::shared_ptr<ShardedLayer> MakeShardedLayerNorm(const at::Tensor& gamma_D, const at::Tensor& beta_D, double eps,
                                                   std::shared_ptr<Communicator> comm) {
  if (gamma_D.dim() != 1 || gamma_D.size(0) < 1 || beta_D.sizes() != gamma_D.sizes()) {
    throw ContractError("MakeShardedLayerNorm: gamma and beta are [D] with one D of at least 1");
  }
  return std::make_shared<ShardedLayerNorm>(gamma_D, beta_D, eps, std::move(comm));
}

}  // namespace shardlab
