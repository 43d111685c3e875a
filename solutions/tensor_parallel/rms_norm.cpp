#include "shardlab/tensor_parallel/rms_norm.hpp"

#include <utility>

#include <ATen/ATen.h>

#include "shardlab/autograd/conjugate_op.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"

// A row needs to know one number of itself, its mean square q:
//
//     q_B  = (1/D) * all-reduce of sum x_Bd^2                (1)   a sum of squares: nothing cancels, no c is needed
//     y_Bd = x_Bd / sqrt(q + eps) * gamma_d                  (2)   ordinary arithmetic on the shard
//     dx   = (2)'s own part + dq * 2 x_Bd / D                (3)   with dq added up over the ranks: one all-reduce
//
// B rows, D normalised features, d this rank's.

namespace shardlab {
namespace {

// q_B from x_Bd, with the backward (3). A new pair each time, because its backward remembers this x.
ConjugateOp MeanSquare(int64_t features, std::shared_ptr<Communicator> comm) {
  auto saved_x_Bd = std::make_shared<at::Tensor>();

  const auto forward = [=](const at::Tensor& x_Bd) {  // (1)
    *saved_x_Bd = x_Bd;
    at::Tensor sum_B = x_Bd.square().sum(-1).contiguous();
    comm->AllReduce(sum_B);
    return sum_B / features;
  };
  const auto backward = [=](const at::Tensor& dq_B) {  // (3)
    comm->AllReduce(dq_B);
    return dq_B.unsqueeze(-1) * 2 * *saved_x_Bd / features;
  };
  return {"RMSNorm's mean square", forward, backward};
}

class ShardedRmsNorm : public ShardedLayer {
 public:
  ShardedRmsNorm(const at::Tensor& gamma_D, double eps, std::shared_ptr<Communicator> comm)
      : comm_(std::move(comm)), features_(gamma_D.size(0)), eps_(eps) {
    const Range d = SplitRange(features_, comm_->size(), comm_->rank());
    gamma_d_ = register_parameter("weight", gamma_D.detach().narrow(0, d.begin, d.size()).clone());
  }

  at::Tensor forward(const at::Tensor& x_Bd) override {
    const at::Tensor q_B1 = Apply(MeanSquare(features_, comm_), x_Bd).unsqueeze(-1);
    return x_Bd * (q_B1 + eps_).rsqrt() * gamma_d_;  // (2)
  }

 private:
  std::shared_ptr<Communicator> comm_;
  int64_t features_;
  double eps_;
  at::Tensor gamma_d_;
};

}  // namespace

std::shared_ptr<ShardedLayer> MakeShardedRmsNorm(const at::Tensor& gamma_D, double eps,
                                                 std::shared_ptr<Communicator> comm) {
  if (gamma_D.dim() != 1 || gamma_D.size(0) < 1) {
    throw ContractError("MakeShardedRmsNorm: gamma is [D] with D of at least 1");
  }
  return std::make_shared<ShardedRmsNorm>(gamma_D, eps, std::move(comm));
}

}  // namespace shardlab
