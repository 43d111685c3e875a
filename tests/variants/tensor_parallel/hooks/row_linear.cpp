#include "shardlab/tensor_parallel/row_linear.hpp"

#include <utility>

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/tensor_parallel/shards.hpp"

namespace shardlab {
namespace {

struct Inputs final : ShardedLayer {
  at::Tensor forward(const at::Tensor& x) override {
    const at::Tensor y = ReduceFromShards(at::einsum("...i,oi->...o", {x, weight}), comm);
    return bias.defined() ? at::add(y, bias.expand_as(y)) : y;
  }

  std::shared_ptr<Communicator> comm;
  at::Tensor weight;
  at::Tensor bias;
};

}  // namespace

std::shared_ptr<ShardedLayer> MakeRowLinear(const at::Tensor& weight_OI, const at::Tensor& bias_O,
                                            std::shared_ptr<Communicator> comm) {
  if (weight_OI.dim() != 2) throw ContractError("MakeRowLinear: the weight is [O, I]");
  if (bias_O.defined() && bias_O.sizes() != weight_OI.sizes().slice(0, 1)) {
    throw ContractError("MakeRowLinear: the bias is [O]");
  }
  auto layer = std::make_shared<Inputs>();
  // Rows of the transpose are contiguous, columns of the weight are not.
  const Range i = SplitRange(weight_OI.size(1), comm->size(), comm->rank());
  const at::Tensor weight_iO = weight_OI.detach().t().slice(0, i.begin, i.end);
  layer->weight = layer->register_parameter("weight", weight_iO.t().contiguous().clone());
  if (bias_O.defined()) layer->bias = layer->register_parameter("bias", bias_O.detach().clone());
  layer->comm = std::move(comm);
  return layer;
}

}  // namespace shardlab
