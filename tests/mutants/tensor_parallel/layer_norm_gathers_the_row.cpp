#include "shardlab/tensor_parallel/layer_norm.hpp"

#include <utility>

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/tensor_parallel/shards.hpp"

namespace shardlab {
namespace {

class ShardedLayerNorm : public ShardedLayer {
 public:
  ShardedLayerNorm(const at::Tensor& gamma_D, const at::Tensor& beta_D, double eps, std::shared_ptr<Communicator> comm)
      : comm_(std::move(comm)), features_(gamma_D.size(0)), eps_(eps) {
    const Range d = SplitRange(features_, comm_->size(), comm_->rank());
    gamma_d_ = register_parameter("weight", gamma_D.detach().narrow(0, d.begin, d.size()).clone());
    beta_d_ = register_parameter("bias", beta_D.detach().narrow(0, d.begin, d.size()).clone());
  }

  at::Tensor forward(const at::Tensor& x_Bd) override {
    const at::Tensor x_BD = GatherFromShards(x_Bd, -1, features_, comm_);
    const Range d = SplitRange(features_, comm_->size(), comm_->rank());
    const at::Tensor n_BD = at::layer_norm(CopyToShards(x_BD, comm_), {features_}, {}, {}, eps_);
    return n_BD.narrow(-1, d.begin, d.size()) * gamma_d_ + beta_d_;
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
