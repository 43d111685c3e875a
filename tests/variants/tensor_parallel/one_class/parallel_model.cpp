#include "shardlab/tensor_parallel/parallel_model.hpp"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include <torch/torch.h>

#include "shardlab/autograd/conjugate_op.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/layers/batch_norm.hpp"
#include "shardlab/models/sequences.hpp"
#include "shardlab/tensor_parallel/shards.hpp"

// One class, one forward, and a look at the names of the full model's parameters wherever something has to be decided.

namespace shardlab {
namespace {

constexpr double kEps = 1e-5;
constexpr double kMomentum = 0.1;

// A module that only holds what it is given.
struct Holder : torch::nn::Module {
  void Put(const std::string& name, const at::Tensor& part) {
    register_parameter(name, part.detach().clone(at::MemoryFormat::Contiguous));
  }
};

struct Names {
  std::vector<std::string> all;   // of the model's layers, in order
  std::vector<std::string> mine;  // those in one layer of the sequence
};

class ParallelLayers : public Layer {
 public:
  ParallelLayers(const LayerSequence& full, Names names, std::shared_ptr<Communicator> comm)
      : comm_(std::move(comm)), layers_(std::move(names.mine)), last_(names.all.back()) {
    for (const LayerSpec& spec : full) {
      const std::string& layer = spec.name;
      if (std::find(layers_.begin(), layers_.end(), layer) == layers_.end()) continue;
      const auto own = spec.make()->named_parameters();
      widths_[layer] = own["weight"].size(0);
      if (Kind(layer) == "bn") {
        const at::Tensor gamma = Slice(own["weight"], 0);
        norms_[layer] = register_module(
            layer, std::make_shared<MicroBatchNorm>(gamma.size(0), kEps, kMomentum, gamma.scalar_type()));
        continue;
      }
      auto holder = register_module(layer, std::make_shared<Holder>());
      for (const auto& parameter : own) holder->Put(parameter.key(), Part(layer, parameter.key(), parameter.value()));
    }
  }

  Tensors Forward(const Tensors& x, const MicroBatch& at) override {
    at::Tensor h = x.at(0);
    for (size_t i = 0; i < layers_.size(); ++i) {
      const std::string& layer = layers_[i];
      const std::string kind = Kind(layer);
      const std::string next = i + 1 < layers_.size() ? layers_[i + 1] : "";
      if (kind == "conv") h = Convolve(layer, h);
      if (kind == "bn") h = norms_.at(layer)->forward(h, at);
      if (kind == "ln") h = NormaliseRows(layer, h);
      if (kind == "fc") h = ByColumns(layer) ? Columns(layer, h.flatten(1)) : Rows(layer, h);
      const bool norm_follows = Kind(next) == "bn" || Kind(next) == "ln";
      if (norm_follows) continue;
      if (kind == "conv" || kind == "bn") {
        h = GatherFromShards(Halve(h.relu()), 1, widths_.at(layer), comm_);
      } else if (layer != last_) {
        h = h.relu();
      } else if (ByColumns(layer)) {
        h = GatherFromShards(h, 1, widths_.at(layer), comm_);
      }
    }
    return {h};
  }

  // Convolutions before dense layers, then by number, and each before its norm.
  static std::vector<int> Order(const std::string& layer) {
    const std::string kind = Kind(layer);
    return {kind == "conv" || kind == "bn" ? 0 : 1, Number(layer), kind == "bn" || kind == "ln" ? 1 : 0};
  }
  // Which layers are in one with it: each convolution with its norm, and dense ones by twos.
  static std::vector<int> Region(const std::string& layer) {
    const std::vector<int> order = Order(layer);
    return {order[0], order[0] == 0 ? order[1] : (order[1] + 1) / 2};
  }

 private:
  static std::string Kind(const std::string& layer) { return layer.substr(0, layer.find_first_of("0123456789")); }
  static int Number(const std::string& layer) {
    const size_t digits = layer.find_first_of("0123456789");
    return digits == std::string::npos ? 1 : std::stoi(layer.substr(digits));
  }
  static bool ByColumns(const std::string& layer) { return Number(layer) % 2 == 1; }

  at::Tensor Slice(const at::Tensor& full, int64_t dim) const {
    const Range mine = SplitRange(full.size(dim), comm_->size(), comm_->rank());
    return full.narrow(dim, mine.begin, mine.size());
  }

  at::Tensor Part(const std::string& layer, const std::string& name, const at::Tensor& full) const {
    const std::string kind = Kind(layer);
    if (kind == "conv" || kind == "bn" || ByColumns(layer)) return Slice(full, 0);
    return kind == "fc" && name == "weight" ? Slice(full, 1) : full;
  }

  at::Tensor Get(const std::string& layer, const std::string& name) {
    return named_children()[layer]->named_parameters()[name];
  }

  at::Tensor Columns(const std::string& layer, const at::Tensor& x) {
    return at::addmm(Get(layer, "bias"), CopyToShards(x, comm_), Get(layer, "weight").t());
  }

  at::Tensor Rows(const std::string& layer, const at::Tensor& x) {
    return ReduceFromShards(x.mm(Get(layer, "weight").t()), comm_) + Get(layer, "bias");
  }

  // 5x5, padding 2: every position's neighbourhood is a column, and a convolution a product with all of them.
  at::Tensor Convolve(const std::string& layer, const at::Tensor& x_BIHW) {
    const at::Tensor weight_oK = Get(layer, "weight").flatten(1);
    const at::Tensor columns_BKP = at::im2col(CopyToShards(x_BIHW, comm_), {5, 5}, {1, 1}, {2, 2}, {1, 1});
    const at::Tensor y_BoP = at::matmul(weight_oK, columns_BKP) + Get(layer, "bias").view({1, -1, 1});
    return y_BoP.view({x_BIHW.size(0), weight_oK.size(0), x_BIHW.size(2), x_BIHW.size(3)});
  }

  // 2x2 pooling as the largest of four views, which works on no channel as well.
  static at::Tensor Halve(const at::Tensor& h) {
    const auto every_second = [&](int64_t row, int64_t column) {
      return h.slice(2, row, h.size(2), 2).slice(3, column, h.size(3), 2);
    };
    return at::stack({every_second(0, 0), every_second(0, 1), every_second(1, 0), every_second(1, 1)}).amax(0);
  }

  at::Tensor NormaliseRows(const std::string& layer, const at::Tensor& h) {
    const at::Tensor gamma = Get(layer, "weight");
    const at::Tensor beta = Get(layer, "bias");
    if (!ByColumns(layer)) return at::layer_norm(h, {h.size(1)}, gamma, beta, kEps);
    // The sums of the activations and of their squares, in one round each way; they lie near zero.
    const auto sum = [comm = comm_](const at::Tensor& own) {
      const at::Tensor all = own.clone(at::MemoryFormat::Contiguous);
      comm->AllReduce(all);
      return all;
    };
    const at::Tensor sums =
        Apply({"LayerNorm", sum, sum}, at::stack({h.sum(1), h.square().sum(1)})) / widths_.at(layer);
    const at::Tensor mean = sums[0].unsqueeze(1);
    const at::Tensor var = sums[1].unsqueeze(1) - mean.square();
    return (h - mean) / (var + kEps).sqrt() * gamma + beta;
  }

  std::shared_ptr<Communicator> comm_;
  std::vector<std::string> layers_;
  std::string last_;                                              // of the model
  std::map<std::string, int64_t> widths_;                         // of the full model
  std::map<std::string, std::shared_ptr<MicroBatchNorm>> norms_;  // which are told where they run
};

}  // namespace

LayerSequence MakeParallelModel(const std::string& name, const ModelOptions& options,
                                std::shared_ptr<Communicator> comm) {
  const LayerSequence full = MakeSequence(name, options);
  Names names;
  for (const LayerSpec& spec : full) names.all.push_back(spec.name);
  std::sort(names.all.begin(), names.all.end(), [](const std::string& a, const std::string& b) {
    return ParallelLayers::Order(a) < ParallelLayers::Order(b);
  });
  std::map<std::vector<int>, std::vector<std::string>> regions;
  for (const std::string& layer : names.all) regions[ParallelLayers::Region(layer)].push_back(layer);
  LayerSequence model;
  for (const auto& [number, layers] : regions) {
    names.mine = layers;
    LayerSpec spec{"from " + layers.front(), [=] { return std::make_shared<ParallelLayers>(full, names, comm); }};
    spec.joins = layers;
    model.push_back(spec);
  }
  return model;
}

}  // namespace shardlab
