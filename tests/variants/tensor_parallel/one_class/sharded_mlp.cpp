#include "shardlab/tensor_parallel/sharded_mlp.hpp"

#include <utility>

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/tensor_parallel/shards.hpp"

namespace shardlab {
namespace {

// A place for two parameters; what is done with them is the MLP's affair.
struct Holder : torch::nn::Module {
  Holder(const at::Tensor& weight, const at::Tensor& bias, const Range& rows) {
    register_parameter("weight", weight.detach().slice(0, rows.begin, rows.end).clone());
    if (bias.defined()) register_parameter("bias", bias.detach().slice(0, rows.begin, rows.end).clone());
  }
};

class ShardedMlp : public ShardedLayer {
 public:
  ShardedMlp(const MlpWeights& weights, std::shared_ptr<Communicator> comm)
      : comm_(std::move(comm)), sizes_{weights.weight1_HI.size(0), weights.weight2_OH.size(0)} {
    const auto rows = [&](int i) { return SplitRange(sizes_[i], comm_->size(), comm_->rank()); };
    register_module("first", std::make_shared<Holder>(weights.weight1_HI, weights.bias1_H, rows(0)));
    register_module("second", std::make_shared<Holder>(weights.weight2_OH, weights.bias2_O, rows(1)));
  }

  at::Tensor forward(const at::Tensor& x) override {
    at::Tensor h = x;
    int i = 0;
    for (const auto& layer : children()) {
      const auto own = layer->named_parameters();
      h = at::matmul(CopyToShards(h, comm_), own["weight"].t());
      if (own.contains("bias")) h = h + own["bias"];
      if (i == 0) h = h.relu();  // on the shard: B*h of them, not B*H
      h = GatherFromShards(h, -1, sizes_[i], comm_);
      ++i;
    }
    return h;
  }

 private:
  std::shared_ptr<Communicator> comm_;
  int64_t sizes_[2];
};

}  // namespace

std::shared_ptr<ShardedLayer> MakeShardedMlp(const MlpWeights& weights, std::shared_ptr<Communicator> comm) {
  if (weights.weight1_HI.dim() != 2 || weights.weight2_OH.dim() != 2 ||
      weights.weight2_OH.size(1) != weights.weight1_HI.size(0)) {
    throw ContractError("MakeShardedMlp: the weights are [H, I] and [O, H] with one H");
  }
  for (const auto& [weight, bias] :
       {std::pair(weights.weight1_HI, weights.bias1_H), std::pair(weights.weight2_OH, weights.bias2_O)}) {
    if (bias.defined() && !bias.sizes().equals({weight.size(0)})) {
      throw ContractError("MakeShardedMlp: the biases are [H] and [O]");
    }
  }
  return std::make_shared<ShardedMlp>(weights, std::move(comm));
}

}  // namespace shardlab
