#include "shardlab/tensor_parallel/sharded_mlp.hpp"

#include <utility>

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/tensor_parallel/column_linear.hpp"

// Every rank computes some of the neurons of each layer and tells everybody:
//
//     x_BI --> first --(1)--> h_BH --(2)-- ReLU --> second --(3)--> y_BO
//
//   (1) An all-gather. Its backward is a slice, because behind it every rank computes the same.
//   (2) ReLU before or behind the all-gather: the same numbers. Here every rank does all of them, and the all-gather is
//       the layer's own.
//   (3) An all-gather. In backward, the second layer adds up what its neurons say about h, an all-reduce of B*H, and
//   the
//       first what its neurons say about x, one of B*I, if somebody asked.

namespace shardlab {
namespace {

class ShardedMlp : public ShardedLayer {
 public:
  ShardedMlp(const MlpWeights& weights, const std::shared_ptr<Communicator>& comm)
      : first_(register_module("first",
                               MakeColumnLinear(weights.weight1_HI, weights.bias1_H, comm, ColumnOutput::kWhole))),
        second_(register_module("second",
                                MakeColumnLinear(weights.weight2_OH, weights.bias2_O, comm, ColumnOutput::kWhole))) {}

  at::Tensor forward(const at::Tensor& x_BI) override {
    const at::Tensor h_BH = first_->forward(x_BI).relu();  // (1), (2)
    return second_->forward(h_BH);                         // (3)
  }

 private:
  std::shared_ptr<ShardedLayer> first_;
  std::shared_ptr<ShardedLayer> second_;
};

}  // namespace

std::shared_ptr<ShardedLayer> MakeShardedMlp(const MlpWeights& weights, std::shared_ptr<Communicator> comm) {
  if (weights.weight1_HI.dim() != 2 || weights.weight2_OH.dim() != 2 ||
      weights.weight1_HI.size(0) != weights.weight2_OH.size(1)) {
    throw ContractError("MakeShardedMlp: the weights are [H, I] and [O, H] with one H");
  }
  return std::make_shared<ShardedMlp>(weights, comm);
}

}  // namespace shardlab
