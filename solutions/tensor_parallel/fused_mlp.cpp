#include "shardlab/tensor_parallel/fused_mlp.hpp"

#include <utility>

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/tensor_parallel/column_linear.hpp"
#include "shardlab/tensor_parallel/row_linear.hpp"

// Two dense layers, one round. The hidden layer never exists in one piece:
//
//     rank 0    x_BI --+--> h_B0 --> ReLU --> h_B0 w_O0^T --+
//                      |                                    +--(2)--> y_BO
//     rank 1    x_BI --+--> h_B1 --> ReLU --> h_B1 w_O1^T --+
//                     (1)
//
//   (1) The door of the column layer: forward nothing, backward one all-reduce of B*I elements.
//   (2) The door of the row layer: forward one all-reduce of B*O elements, backward nothing.
//
// It works because ReLU needs one feature at a time, and because both layers cut H at the same places.

namespace shardlab {
namespace {

class FusedMlp : public ShardedLayer {
 public:
  FusedMlp(const MlpWeights& weights, const std::shared_ptr<Communicator>& comm)
      : first_(register_module("first", MakeColumnLinear(weights.weight1_HI, weights.bias1_H, comm))),
        second_(register_module("second", MakeRowLinear(weights.weight2_OH, weights.bias2_O, comm))) {}

  at::Tensor forward(const at::Tensor& x_BI) override {
    const at::Tensor h_Bh = first_->forward(x_BI).relu();  // (1)
    return second_->forward(h_Bh);                         // (2)
  }

 private:
  std::shared_ptr<ShardedLayer> first_;
  std::shared_ptr<ShardedLayer> second_;
};

}  // namespace

std::shared_ptr<ShardedLayer> MakeFusedMlp(const MlpWeights& weights, std::shared_ptr<Communicator> comm) {
  if (weights.weight1_HI.dim() != 2 || weights.weight2_OH.dim() != 2 ||
      weights.weight1_HI.size(0) != weights.weight2_OH.size(1)) {
    throw ContractError("MakeFusedMlp: the weights are [H, I] and [O, H] with one H");
  }
  return std::make_shared<FusedMlp>(weights, comm);
}

}  // namespace shardlab
