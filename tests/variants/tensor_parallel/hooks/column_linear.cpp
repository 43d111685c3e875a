#include "shardlab/tensor_parallel/column_linear.hpp"

#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/tensor_parallel/shards.hpp"

namespace shardlab {
namespace {

// Where this rank's neurons begin, counted from the sizes of all shards.
int64_t Begin(const std::vector<int64_t>& sizes, int rank) {
  int64_t begin = 0;
  for (int r = 0; r < rank; ++r) begin += sizes[static_cast<size_t>(r)];
  return begin;
}

struct Neurons final : ShardedLayer {
  at::Tensor forward(const at::Tensor& x) override {
    at::Tensor y = at::einsum("...i,oi->...o", {CopyToShards(x, comm), weight});
    if (bias.defined()) y = y + bias;
    return whole ? GatherFromShards(y, y.dim() - 1, features, comm) : y;
  }

  std::shared_ptr<Communicator> comm;
  int64_t features = 0;
  bool whole = false;
  at::Tensor weight;
  at::Tensor bias;
};

}  // namespace

std::shared_ptr<ShardedLayer> MakeColumnLinear(const at::Tensor& weight_OI, const at::Tensor& bias_O,
                                               std::shared_ptr<Communicator> comm, ColumnOutput output) {
  if (weight_OI.dim() != 2) throw ContractError("MakeColumnLinear: the weight is [O, I]");
  if (bias_O.defined() && bias_O.sizes() != weight_OI.sizes().slice(0, 1)) {
    throw ContractError("MakeColumnLinear: the bias is [O]");
  }
  auto layer = std::make_shared<Neurons>();
  const std::vector<int64_t> sizes = SplitSizes(weight_OI.size(0), comm->size());
  const int64_t begin = Begin(sizes, comm->rank());
  const int64_t end = begin + sizes[static_cast<size_t>(comm->rank())];
  layer->features = weight_OI.size(0);
  layer->whole = output == ColumnOutput::kWhole;
  layer->weight = layer->register_parameter("weight", weight_OI.detach().slice(0, begin, end).clone());
  if (bias_O.defined()) layer->bias = layer->register_parameter("bias", bias_O.detach().slice(0, begin, end).clone());
  layer->comm = std::move(comm);
  return layer;
}

}  // namespace shardlab
