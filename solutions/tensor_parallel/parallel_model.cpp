#include "shardlab/tensor_parallel/parallel_model.hpp"

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/torch.h>

#include "shardlab/base/split.hpp"
#include "shardlab/layers/batch_norm.hpp"
#include "shardlab/models/sequences.hpp"
#include "shardlab/tensor_parallel/column_linear.hpp"
#include "shardlab/tensor_parallel/layer_norm.hpp"
#include "shardlab/tensor_parallel/row_linear.hpp"
#include "shardlab/tensor_parallel/shards.hpp"

// A model is a chain of places where a tensor is whole (W), a shard (S) or a partial sum; a layer may stand where its
// input is what it wants, and the chain is cut (|) where it is whole. For the convolutional network with BatchNorm:
//
//     W -- conv1 --> S -- bn1, ReLU, pool --> S --(1)--> W | -- conv2 --> S -- bn2, ReLU, pool --> S --(1)--> W |
//       -- fc1, by columns --> S -- ReLU --> S -- fc2, by rows --(2)--> W
//
// and for a dense one with LayerNorm and three layers:
//
//     W -- fc1, by columns --> S -- ln1, ReLU --> S -- fc2, by rows --(2)--> W -- ln2 (3), ReLU --> W |
//       -- fc3, by columns --> S --(1)--> W
//
//   (1) GatherFromShards. (2) The row layer's all-reduce.
//   (3) A replicated norm: every rank computes the same, forward and backward. Its gradients are equal on every rank
//       because the gradient that arrives is, bit for bit: it left (1) or an all-reduce.
//
// The logits are whole, so every rank computes the same loss, and the training loop knows nothing of all this.
//
// B images, C channels (c this rank's), H x W pixels.

namespace shardlab {
namespace {

using World = std::shared_ptr<Communicator>;

// The model of one process, where the layers cut their part from: one layer of it is made at a time.
class FullModel {
 public:
  FullModel(const std::string& name, const ModelOptions& options) : layers_(MakeSequence(name, options)) {}

  bool Has(const std::string& layer) const { return Find(layer) != layers_.end(); }
  std::shared_ptr<Layer> Make(const std::string& layer) const { return Find(layer)->make(); }
  // What its parameters are: `weight` and `bias`.
  torch::OrderedDict<std::string, at::Tensor> Weights(const std::string& layer) const {
    return Make(layer)->named_parameters();
  }

 private:
  LayerSequence::const_iterator Find(const std::string& layer) const {
    return std::find_if(layers_.begin(), layers_.end(), [&](const LayerSpec& spec) { return spec.name == layer; });
  }
  LayerSequence layers_;
};

// One step after the other, whole in and whole out; those with parameters are submodules.
class Region : public Layer {
 public:
  using Step = std::function<at::Tensor(const at::Tensor& h, const MicroBatch& at)>;

  void Then(Step step) { steps_.push_back(std::move(step)); }
  void Then(const std::string& name, const std::shared_ptr<ShardedLayer>& layer) {
    register_module(name, layer);
    Then([=](const at::Tensor& h, const MicroBatch&) { return layer->forward(h); });
  }
  void Then(const std::string& name, const std::shared_ptr<MicroBatchNorm>& norm) {
    register_module(name, norm);
    Then([=](const at::Tensor& h, const MicroBatch& at) { return norm->forward(h, at); });
  }
  void Then(const std::string& name, const std::shared_ptr<Layer>& layer) {
    register_module(name, layer);
    Then([=](const at::Tensor& h, const MicroBatch& at) { return layer->Forward({h}, at).at(0); });
  }

  Tensors Forward(const Tensors& x, const MicroBatch& at) override {
    at::Tensor h = x.at(0);
    for (const Step& step : steps_) h = step(h, at);
    return {h};
  }

 private:
  std::vector<Step> steps_;
};

at::Tensor Relu(const at::Tensor& h, const MicroBatch&) { return at::relu(h); }
at::Tensor Flatten(const at::Tensor& h, const MicroBatch&) { return h.flatten(1); }

at::Tensor ReluAndPool(const at::Tensor& h, const MicroBatch&) {
  // LibTorch pools no empty tensor; halving the sides of nothing is a view.
  return h.size(1) > 0 ? at::max_pool2d(at::relu(h), 2) : h.slice(2, 0, h.size(2) / 2).slice(3, 0, h.size(3) / 2);
}

// A column-parallel convolution: an output channel is a neuron that is used at every position. 5x5, padding 2.
class ColumnConvolution : public ShardedLayer {
 public:
  ColumnConvolution(const at::Tensor& weight_OIhw, const at::Tensor& bias_O, World comm) : comm_(std::move(comm)) {
    const Range o = SplitRange(weight_OIhw.size(0), comm_->size(), comm_->rank());
    weight_oIhw_ = register_parameter("weight", weight_OIhw.detach().narrow(0, o.begin, o.size()).clone());
    bias_o_ = register_parameter("bias", bias_O.detach().narrow(0, o.begin, o.size()).clone());
  }

  at::Tensor forward(const at::Tensor& x_BIHW) override {
    const at::Tensor x = CopyToShards(x_BIHW, comm_);
    // More ranks than channels: nothing to compute, but a result that needs a gradient all the same (the empty bias
    // does), or this rank's backward would stop here while the others' wait for it in the layers before and behind.
    if (bias_o_.size(0) == 0) return x.narrow(1, 0, 0) + bias_o_.view({1, 0, 1, 1});
    return at::conv2d(x, weight_oIhw_, bias_o_, /*stride=*/1, /*padding=*/2);
  }

 private:
  World comm_;
  at::Tensor weight_oIhw_;
  at::Tensor bias_o_;
};

// BatchNorm over sharded channels: a rank has all samples of its own ones.
std::shared_ptr<MicroBatchNorm> ShardedBatchNorm(const FullModel& full, const std::string& name,
                                                 const Communicator& comm) {
  const auto weights = full.Weights(name);
  const Range c = SplitRange(weights["weight"].size(0), comm.size(), comm.rank());
  const auto norm = std::make_shared<MicroBatchNorm>(c.size(), 1e-5, 0.1, weights["weight"].scalar_type());
  const torch::NoGradGuard no_grad;
  norm->weight.copy_(weights["weight"].narrow(0, c.begin, c.size()));
  norm->bias.copy_(weights["bias"].narrow(0, c.begin, c.size()));
  return norm;
}

std::shared_ptr<Region> ConvolutionRegion(const FullModel& full, const std::string& conv, const std::string& norm,
                                          const World& comm) {
  const auto region = std::make_shared<Region>();
  const auto weights = full.Weights(conv);
  const int64_t channels = weights["bias"].size(0);
  region->Then(conv, std::make_shared<ColumnConvolution>(weights["weight"], weights["bias"], comm));
  if (full.Has(norm)) region->Then(norm, ShardedBatchNorm(full, norm, *comm));
  region->Then(ReluAndPool);
  region->Then([=](const at::Tensor& h, const MicroBatch&) { return GatherFromShards(h, 1, channels, comm); });  // (1)
  return region;
}

// A dense layer by columns, and the one by rows behind it where there is one.
struct Dense {
  std::string columns, columns_norm, rows, rows_norm;
  bool is_last = false;  // of the model
};

std::shared_ptr<Region> DenseRegion(const FullModel& full, const Dense& dense, const World& comm) {
  const auto region = std::make_shared<Region>();
  region->Then(Flatten);
  const auto columns = full.Weights(dense.columns);
  const ColumnOutput output = full.Has(dense.rows) ? ColumnOutput::kShard : ColumnOutput::kWhole;  // (1)
  region->Then(dense.columns, MakeColumnLinear(columns["weight"], columns["bias"], comm, output));
  if (!full.Has(dense.rows)) return region;

  if (full.Has(dense.columns_norm)) {
    const auto norm = full.Weights(dense.columns_norm);
    region->Then(dense.columns_norm, MakeShardedLayerNorm(norm["weight"], norm["bias"], 1e-5, comm));
  }
  region->Then(Relu);
  const auto rows = full.Weights(dense.rows);
  region->Then(dense.rows, MakeRowLinear(rows["weight"], rows["bias"], comm));  // (2)
  if (full.Has(dense.rows_norm)) {
    region->Then(dense.rows_norm, full.Make(dense.rows_norm));  // (3), with its ReLU
  } else if (!dense.is_last) {
    region->Then(Relu);
  }
  return region;
}

// The spec of a region: it joins those of `names` that the model has.
LayerSpec Joined(const FullModel& full, std::vector<std::string> names, std::function<std::shared_ptr<Region>()> make) {
  names.erase(std::remove_if(names.begin(), names.end(), [&](const std::string& name) { return !full.Has(name); }),
              names.end());
  LayerSpec spec{fmt::format("{}", fmt::join(names, "+")), std::move(make)};
  spec.joins = std::move(names);
  return spec;
}

}  // namespace

LayerSequence MakeParallelModel(const std::string& name, const ModelOptions& options,
                                std::shared_ptr<Communicator> comm) {
  const FullModel full(name, options);
  const auto numbered = [](const std::string& layer, int i) { return layer + std::to_string(i); };
  LayerSequence model;
  for (int i = 1; full.Has(numbered("conv", i)); ++i) {
    const std::string conv = numbered("conv", i), norm = numbered("bn", i);
    model.push_back(Joined(full, {conv, norm}, [=] { return ConvolutionRegion(full, conv, norm, comm); }));
  }
  const auto add = [&](const Dense& dense) {
    model.push_back(Joined(full, {dense.columns, dense.columns_norm, dense.rows, dense.rows_norm},
                           [=] { return DenseRegion(full, dense, comm); }));
  };
  if (full.Has("fc")) add({"fc", "", "", "", /*is_last=*/true});
  for (int i = 1; full.Has(numbered("fc", i)); i += 2) {
    add({numbered("fc", i), numbered("ln", i), numbered("fc", i + 1), numbered("ln", i + 1),
         /*is_last=*/!full.Has(numbered("fc", i + 2))});
  }
  return model;
}

}  // namespace shardlab
