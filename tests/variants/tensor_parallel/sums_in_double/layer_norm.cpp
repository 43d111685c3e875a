#include "shardlab/tensor_parallel/layer_norm.hpp"

#include <utility>

#include <ATen/ATen.h>

#include "shardlab/autograd/conjugate_op.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"

// One operator from x to the two sums over ALL features of a row, both in float64, whose backward is the sum of the
// gradients: an all-reduce each way. Everything else is autograd's: also that the sums depend on x, and how.

namespace shardlab {
namespace {

class LayerNorm : public ShardedLayer {
 public:
  LayerNorm(const at::Tensor& gamma_D, const at::Tensor& beta_D, double eps, std::shared_ptr<Communicator> comm)
      : comm_(std::move(comm)), features_(gamma_D.size(0)), eps_(eps) {
    const Range d = SplitRange(features_, comm_->size(), comm_->rank());
    gamma_d_ = register_parameter("weight", gamma_D.detach().narrow(0, d.begin, d.size()).clone());
    beta_d_ = register_parameter("bias", beta_D.detach().narrow(0, d.begin, d.size()).clone());
  }

  at::Tensor forward(const at::Tensor& x_Bd) override {
    const auto sum = [comm = comm_](const at::Tensor& partial) {
      const at::Tensor total = partial.clone(at::MemoryFormat::Contiguous);
      comm->AllReduce(total);
      return total;
    };
    const at::Tensor wide = x_Bd.to(at::kDouble);
    const at::Tensor own = at::stack({wide.sum(-1), wide.square().sum(-1)});
    const at::Tensor sums = Apply({"sums over all features", sum, sum}, own) / features_;
    const at::Tensor mean = sums[0].unsqueeze(-1);
    const at::Tensor var = sums[1].unsqueeze(-1) - mean.square();
    const at::Tensor normed = (wide - mean) * at::clamp_min(var, 0).add(eps_).rsqrt();
    return normed.to(x_Bd.scalar_type()) * gamma_d_ + beta_d_;
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
  if (gamma_D.dim() != 1 || gamma_D.size(0) == 0 || beta_D.sizes() != gamma_D.sizes()) {
    throw ContractError("MakeShardedLayerNorm: gamma and beta are [D], D at least 1");
  }
  return std::make_shared<LayerNorm>(gamma_D, beta_D, eps, std::move(comm));
}

}  // namespace shardlab
