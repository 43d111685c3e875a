#include "shardlab/tensor_parallel/parallel_model.hpp"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include <torch/torch.h>

#include "shardlab/autograd/conjugate_op.hpp"
#include "shardlab/base/split.hpp"
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
  void PutBuffer(const std::string& name, const at::Tensor& value) { register_buffer(name, value); }
};

class ParallelModel : public ImageClassifier {
 public:
  ParallelModel(const std::string& name, const ModelOptions& options, std::shared_ptr<Communicator> comm)
      : comm_(std::move(comm)) {
    const auto full = MakeModel(name, options);
    for (const auto& item : full->named_children()) {
      layers_.push_back(item.key());
      const auto own = item.value()->named_parameters();
      auto holder = register_module(item.key(), std::make_shared<Holder>());
      widths_[item.key()] = own["weight"].size(0);
      for (const auto& parameter : own)
        holder->Put(parameter.key(), Part(item.key(), parameter.key(), parameter.value()));
      if (Kind(item.key()) == "bn") {
        const at::Tensor gamma = holder->named_parameters()["weight"].detach();
        holder->PutBuffer("running_mean", at::zeros_like(gamma));
        holder->PutBuffer("running_var", at::ones_like(gamma));
        holder->PutBuffer("num_batches_tracked", at::zeros({}, at::kLong));
      }
    }
    std::sort(layers_.begin(), layers_.end(),
              [](const std::string& a, const std::string& b) { return Order(a) < Order(b); });
  }

  at::Tensor forward(const at::Tensor& images) override {
    at::Tensor h = images;
    for (size_t i = 0; i < layers_.size(); ++i) {
      const std::string& layer = layers_[i];
      const std::string kind = Kind(layer);
      const std::string next = i + 1 < layers_.size() ? layers_[i + 1] : "";
      if (kind == "conv") h = Convolve(layer, h);
      if (kind == "bn") h = NormaliseChannels(layer, h);
      if (kind == "ln") h = NormaliseRows(layer, h);
      if (kind == "fc") h = ByColumns(layer) ? Columns(layer, h.flatten(1)) : Rows(layer, h);
      const bool norm_follows = Kind(next) == "bn" || Kind(next) == "ln";
      if (norm_follows) continue;
      if (kind == "conv" || kind == "bn") {
        h = GatherFromShards(Halve(h.relu()), 1, widths_.at(layer), comm_);
      } else if (!next.empty()) {
        h = h.relu();
      } else if (ByColumns(layer)) {
        h = GatherFromShards(h, 1, widths_.at(layer), comm_);
      }
    }
    return h;
  }

 private:
  static std::string Kind(const std::string& layer) { return layer.substr(0, layer.find_first_of("0123456789")); }
  static int Number(const std::string& layer) {
    const size_t digits = layer.find_first_of("0123456789");
    return digits == std::string::npos ? 1 : std::stoi(layer.substr(digits));
  }
  // Convolutions before dense layers, then by number, and each before its norm.
  static std::vector<int> Order(const std::string& layer) {
    const std::string kind = Kind(layer);
    return {kind == "conv" || kind == "bn" ? 0 : 1, Number(layer), kind == "bn" || kind == "ln" ? 1 : 0};
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

  at::Tensor NormaliseChannels(const std::string& layer, const at::Tensor& h_BcHW) {
    const auto buffers = named_children()[layer]->named_buffers();
    at::Tensor mean = buffers["running_mean"];
    at::Tensor var = buffers["running_var"];
    if (is_training()) {
      const auto n = static_cast<double>(h_BcHW.size(0) * h_BcHW.size(2) * h_BcHW.size(3));
      const at::Tensor batch_mean = h_BcHW.mean({0, 2, 3});
      const at::Tensor batch_var = (h_BcHW - batch_mean.view({1, -1, 1, 1})).square().mean({0, 2, 3});
      mean.mul_(1 - kMomentum).add_(batch_mean.detach(), kMomentum);
      var.mul_(1 - kMomentum).add_(batch_var.detach(), kMomentum * n / (n - 1));
      at::Tensor batches = buffers["num_batches_tracked"];
      batches += 1;
      mean = batch_mean;
      var = batch_var;
    }
    const auto over = [](const at::Tensor& vector_c) { return vector_c.view({1, -1, 1, 1}); };
    return (h_BcHW - over(mean)) * over((var + kEps).rsqrt() * Get(layer, "weight")) + over(Get(layer, "bias"));
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
  std::map<std::string, int64_t> widths_;  // of the full model
};

}  // namespace

std::shared_ptr<ImageClassifier> MakeParallelModel(const std::string& name, const ModelOptions& options,
                                                   std::shared_ptr<Communicator> comm) {
  return std::make_shared<ParallelModel>(name, options, std::move(comm));
}

}  // namespace shardlab
