#include "shardlab/tensor_parallel/parallel_model.hpp"

#include <utility>
#include <vector>

#include <torch/torch.h>

#include "shardlab/base/split.hpp"
#include "shardlab/tensor_parallel/batch_norm.hpp"
#include "shardlab/tensor_parallel/column_linear.hpp"
#include "shardlab/tensor_parallel/layer_norm.hpp"
#include "shardlab/tensor_parallel/row_linear.hpp"
#include "shardlab/tensor_parallel/shards.hpp"

namespace shardlab {
namespace {

// The full model: where the layers cut their part from.
class FullModel {
 public:
  FullModel(const std::string& name, const ModelOptions& options)
      : model_(MakeModel(name, options)), parameters_(model_->named_parameters()) {}

  bool Has(const std::string& layer) const { return parameters_.contains(layer + ".weight"); }
  const at::Tensor& Weight(const std::string& layer) const { return parameters_[layer + ".weight"]; }
  const at::Tensor& Bias(const std::string& layer) const { return parameters_[layer + ".bias"]; }

 private:
  std::shared_ptr<ImageClassifier> model_;
  torch::OrderedDict<std::string, at::Tensor> parameters_;
};

// A column-parallel convolution: an output channel is a neuron that is used at every position. 5x5, padding 2.
class ColumnConvolution : public ShardedLayer {
 public:
  ColumnConvolution(const at::Tensor& weight_OIhw, const at::Tensor& bias_O, std::shared_ptr<Communicator> comm)
      : comm_(std::move(comm)) {
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
  std::shared_ptr<Communicator> comm_;
  at::Tensor weight_oIhw_;
  at::Tensor bias_o_;
};

class ParallelModel : public ImageClassifier {
 public:
  ParallelModel(const std::string& name, const ModelOptions& options, std::shared_ptr<Communicator> comm)
      : comm_(std::move(comm)) {
    const FullModel full(name, options);
    const auto numbered = [](const std::string& layer, int i) { return layer + std::to_string(i); };

    for (int i = 1; full.Has(numbered("conv", i)); ++i) {
      AddConvolution(full, numbered("conv", i), numbered("bn", i));
    }
    if (full.Has("fc")) AddDense(full, "fc", "", /*by_columns=*/true, /*is_last=*/true);
    for (int i = 1; full.Has(numbered("fc", i)); ++i) {
      AddDense(full, numbered("fc", i), numbered("ln", i), /*by_columns=*/i % 2 == 1,
               /*is_last=*/!full.Has(numbered("fc", i + 1)));
    }
  }

  at::Tensor forward(const at::Tensor& x_BCHW) override {
    at::Tensor h = x_BCHW;
    for (const Convolution& layer : convolutions_) {
      h = layer.convolution->forward(h);
      if (layer.norm) h = layer.norm->forward(h);
      h = at::max_pool2d(at::relu(GatherFromShards(h, 1, layer.channels, comm_)), 2);
    }
    h = h.flatten(1);
    for (size_t i = 0; i < dense_.size(); ++i) {
      h = dense_[i].linear->forward(h);
      if (dense_[i].sharded_norm) h = dense_[i].sharded_norm->forward(h);
      if (dense_[i].whole_norm) h = dense_[i].whole_norm->forward(h);
      if (i + 1 < dense_.size()) h = at::relu(h);
    }
    return h;
  }

 private:
  struct Convolution {
    std::shared_ptr<ShardedLayer> convolution;
    std::shared_ptr<ShardedLayer> norm;  // null: none
    int64_t channels;                    // on all ranks
  };
  struct Dense {
    std::shared_ptr<ShardedLayer> linear;
    std::shared_ptr<ShardedLayer> sharded_norm;  // behind a column layer; null: none
    torch::nn::LayerNorm whole_norm{nullptr};    // behind a row layer; empty: none
  };

  void AddConvolution(const FullModel& full, const std::string& name, const std::string& norm) {
    Convolution layer{
        register_module(name, std::make_shared<ColumnConvolution>(full.Weight(name), full.Bias(name), comm_)), nullptr,
        full.Bias(name).size(0)};
    if (full.Has(norm)) {
      layer.norm = register_module(norm, MakeFeatureBatchNorm({full.Weight(norm), full.Bias(norm)}, comm_));
    }
    convolutions_.push_back(layer);
  }

  void AddDense(const FullModel& full, const std::string& name, const std::string& norm, bool by_columns,
                bool is_last) {
    const at::Tensor& weight_OI = full.Weight(name);
    const at::Tensor& bias_O = full.Bias(name);
    Dense layer;
    if (by_columns) {
      const ColumnOutput output = is_last ? ColumnOutput::kWhole : ColumnOutput::kShard;
      layer.linear = register_module(name, MakeColumnLinear(weight_OI, bias_O, comm_, output));
    } else {
      layer.linear = register_module(name, MakeRowLinear(weight_OI, bias_O, comm_));
    }
    if (full.Has(norm) && by_columns) {
      layer.sharded_norm = register_module(norm, MakeShardedLayerNorm(full.Weight(norm), full.Bias(norm), 1e-5, comm_));
    } else if (full.Has(norm)) {
      layer.whole_norm = register_module(norm, torch::nn::LayerNorm(torch::nn::LayerNormOptions({bias_O.size(0)})));
      layer.whole_norm->to(bias_O.scalar_type());
      const torch::NoGradGuard no_grad;
      layer.whole_norm->weight.copy_(full.Weight(norm));
      layer.whole_norm->bias.copy_(full.Bias(norm));
    }
    dense_.push_back(layer);
  }

  std::shared_ptr<Communicator> comm_;
  std::vector<Convolution> convolutions_;
  std::vector<Dense> dense_;
};

}  // namespace

std::shared_ptr<ImageClassifier> MakeParallelModel(const std::string& name, const ModelOptions& options,
                                                   std::shared_ptr<Communicator> comm) {
  return std::make_shared<ParallelModel>(name, options, std::move(comm));
}

}  // namespace shardlab
