#include <algorithm>
#include <utility>

#include <ATen/ATen.h>

#include "shardlab/base/split.hpp"
#include "shardlab/tensor_parallel/fused_mlp.hpp"
#include "shardlab/tensor_parallel/shards.hpp"

// A correct fused layer that is not built of the other layers: here the mistakes of this part can be made that the
// others would have prevented.

namespace shardlab {
namespace {

class Half : public torch::nn::Module {
 public:
  at::Tensor Add(const std::string& name, const at::Tensor& value) { return register_parameter(name, value.clone()); }
};

class FusedMlp : public ShardedLayer {
 public:
  FusedMlp(const MlpWeights& weights, std::shared_ptr<Communicator> comm) : comm_(std::move(comm)) {
    const Range h = SplitRange(weights.weight1_HI.size(0), comm_->size(), comm_->rank());
    const auto first = register_module("first", std::make_shared<Half>());
    const auto second = register_module("second", std::make_shared<Half>());
    weight1_hI_ = first->Add("weight", weights.weight1_HI.detach().narrow(0, h.begin, h.size()));
    bias1_h_ = first->Add("bias", weights.bias1_H.detach().narrow(0, h.begin, h.size()));
    weight2_Oh_ = second->Add("weight", weights.weight2_OH.detach().narrow(1, h.begin, h.size()));
    bias2_O_ = second->Add("bias", weights.bias2_O.detach());
  }

  at::Tensor forward(const at::Tensor& x_BI) override {
    const at::Tensor h_Bh = at::linear(CopyToShards(x_BI, comm_), weight1_hI_, bias1_h_).relu();
    const at::Tensor y_BO = ReduceFromShards(at::linear(h_Bh, weight2_Oh_), comm_);
    return y_BO + bias2_O_;
  }

 private:
  std::shared_ptr<Communicator> comm_;
  at::Tensor weight1_hI_;
  at::Tensor bias1_h_;
  at::Tensor weight2_Oh_;
  at::Tensor bias2_O_;
};

}  // namespace

std::shared_ptr<ShardedLayer> MakeFusedMlp(const MlpWeights& weights, std::shared_ptr<Communicator> comm) {
  return std::make_shared<FusedMlp>(weights, std::move(comm));
}

}  // namespace shardlab
