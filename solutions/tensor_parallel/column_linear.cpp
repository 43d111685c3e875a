#include "shardlab/tensor_parallel/column_linear.hpp"

#include <utility>

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/tensor_parallel/shards.hpp"

// A neuron is a row of W and an element of b. Rank t computes its neurons from the whole input:
//
//     x_BI --(1)-- CopyToShards --(2)-- x w_oI^T + b_o --(3)-- [GatherFromShards] --> y
//
//   (1) Nothing travels forward. Backward, every rank knows the gradient of x as far as ITS neurons see it, and
//       CopyToShards adds these up: the layer's only communication in training.
//   (2) An ordinary linear layer. Autograd gives the gradients of w_oI and b_o, and no other rank has a part in them.
//   (3) Only on request: an elementwise function or a row-parallel layer goes on with the shard.
//
// B rows, I input features, O output features; a small letter is this rank's part.

namespace shardlab {
namespace {

class ColumnLinear : public ShardedLayer {
 public:
  ColumnLinear(const at::Tensor& weight_OI, const at::Tensor& bias_O, std::shared_ptr<Communicator> comm,
               ColumnOutput output)
      : comm_(std::move(comm)), out_features_(weight_OI.size(0)), output_(output) {
    const Range o = SplitRange(out_features_, comm_->size(), comm_->rank());
    weight_oI_ = register_parameter("weight", weight_OI.detach().narrow(0, o.begin, o.size()).clone());
    if (bias_O.defined()) {
      bias_o_ = register_parameter("bias", bias_O.detach().narrow(0, o.begin, o.size()).clone());
    }
  }

  at::Tensor forward(const at::Tensor& x_BI) override {
    const at::Tensor y_Bo = at::linear(CopyToShards(x_BI, comm_), weight_oI_, bias_o_);  // (1), (2)
    if (output_ == ColumnOutput::kShard) return y_Bo;
    return GatherFromShards(y_Bo, -1, out_features_, comm_);  // (3)
  }

 private:
  std::shared_ptr<Communicator> comm_;
  int64_t out_features_;
  ColumnOutput output_;
  at::Tensor weight_oI_;
  at::Tensor bias_o_;  // undefined: none
};

}  // namespace

std::shared_ptr<ShardedLayer> MakeColumnLinear(const at::Tensor& weight_OI, const at::Tensor& bias_O,
                                               std::shared_ptr<Communicator> comm, ColumnOutput output) {
  if (weight_OI.dim() != 2 || (bias_O.defined() && (bias_O.dim() != 1 || bias_O.size(0) != weight_OI.size(0)))) {
    throw ContractError("MakeColumnLinear: the weight has two dimensions [O, I], and the bias, if any, is [O]");
  }
  return std::make_shared<ColumnLinear>(weight_OI, bias_O, std::move(comm), output);
}

}  // namespace shardlab
