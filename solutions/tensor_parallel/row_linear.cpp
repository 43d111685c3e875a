#include "shardlab/tensor_parallel/row_linear.hpp"

#include <utility>

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/tensor_parallel/shards.hpp"

// A product of matrices is a sum over the inner dimension, and a sum can be cut anywhere:
//
//     x W^T = x_B0 w_O0^T + x_B1 w_O1^T          rank t has x_Bt and w_Ot
//
//     x_Bi --(1)-- x_Bi w_Oi^T --(2)-- ReduceFromShards --(3)-- + b_O --> y_BO
//
//   (1) A partial sum of the full shape [B, O], without the bias.
//   (2) The all-reduce. Backward it is the identity: every rank holds the gradient of the sum, which is the gradient of
//       each summand; from there on w_Oi and x_Bi are this rank's own.
//   (3) The bias, behind the sum: before it, T ranks would add it T times. It is replicated, and so is the gradient
//       that it gets, with the same bits.
//
// B rows, I input features, O output features; a small letter is this rank's part.

namespace shardlab {
namespace {

class RowLinear : public ShardedLayer {
 public:
  RowLinear(const at::Tensor& weight_OI, const at::Tensor& bias_O, std::shared_ptr<Communicator> comm)
      : comm_(std::move(comm)) {
    const Range i = SplitRange(weight_OI.size(1), comm_->size(), comm_->rank());
    weight_Oi_ = register_parameter(
        "weight", weight_OI.detach().narrow(1, i.begin, i.size()).clone(at::MemoryFormat::Contiguous));
    if (bias_O.defined()) bias_O_ = register_parameter("bias", bias_O.detach().clone());
  }

  at::Tensor forward(const at::Tensor& x_Bi) override {
    const at::Tensor partial_BO = at::linear(x_Bi, weight_Oi_);   // (1)
    const at::Tensor y_BO = ReduceFromShards(partial_BO, comm_);  // (2)
    return bias_O_.defined() ? y_BO + bias_O_ : y_BO;             // (3)
  }

 private:
  std::shared_ptr<Communicator> comm_;
  at::Tensor weight_Oi_;
  at::Tensor bias_O_;  // undefined: none
};

}  // namespace

std::shared_ptr<ShardedLayer> MakeRowLinear(const at::Tensor& weight_OI, const at::Tensor& bias_O,
                                            std::shared_ptr<Communicator> comm) {
  if (weight_OI.dim() != 2 || (bias_O.defined() && (bias_O.dim() != 1 || bias_O.size(0) != weight_OI.size(0)))) {
    throw ContractError("MakeRowLinear: the weight has two dimensions [O, I], and the bias, if any, is [O]");
  }
  return std::make_shared<RowLinear>(weight_OI, bias_O, std::move(comm));
}

}  // namespace shardlab
