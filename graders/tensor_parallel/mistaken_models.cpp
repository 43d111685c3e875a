#include "mistaken_models.hpp"

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include <torch/torch.h>

#include "shardlab/base/split.hpp"

namespace shardlab::grade {
namespace {

/// What is wrong with a model. Each is one thing that holds throughout it.
struct Flaw {
  const char* meaning;
  bool no_relu = false;           ///< between dense layers
  bool relu_at_the_end = false;   ///< behind the last layer too
  bool relu_before_norm = false;  ///< LayerNorm behind the ReLU
  bool no_layer_norm = false;
  bool no_batch_norm = false;
  double layer_norm_eps = 0;      ///< of the sharded ones; 0: the right one
  bool local_layer_norm = false;  ///< behind a column layer: of each rank's features alone
  bool row_bias_of_all = false;   ///< every rank adds a row layer's bias
  bool no_row_bias = false;
  bool constant_statistics = false;  ///< BatchNorm by its running statistics in training too
};

std::vector<Flaw> Flaws() {
  std::vector<Flaw> flaws(9);
  flaws[0].meaning = "the ReLU between the dense layers is missing";
  flaws[0].no_relu = true;
  flaws[1].meaning = "there is a ReLU behind the last layer too";
  flaws[1].relu_at_the_end = true;
  flaws[2].meaning = "the ReLU stands before the LayerNorm, and not behind it";
  flaws[2].relu_before_norm = true;
  flaws[3].meaning = "the LayerNorms are missing";
  flaws[3].no_layer_norm = true;
  flaws[4].meaning = "the BatchNorms are missing";
  flaws[4].no_batch_norm = true;
  flaws[5].meaning =
      "the LayerNorm behind a column layer takes the statistics of the rank's own features: it is sharded "
      "there (MakeShardedLayerNorm)";
  flaws[5].local_layer_norm = true;
  flaws[6].meaning = "every rank adds the bias of a row layer before the sum";
  flaws[6].row_bias_of_all = true;
  flaws[7].meaning = "the biases of the row layers are missing";
  flaws[7].no_row_bias = true;
  flaws[8].meaning = "BatchNorm uses its running statistics in training too: the model is not told that it trains";
  flaws[8].constant_statistics = true;
  for (const auto& [meaning, eps] : {std::pair("the eps of the sharded norms is 0.001, and the model has 1e-5", 1e-3),
                                     std::pair("the eps of the sharded norms is 1e-6, and the model has 1e-5", 1e-6)}) {
    Flaw flaw{meaning};
    flaw.layer_norm_eps = eps;
    flaws.push_back(flaw);
  }
  return flaws;
}

/// A model of shardlab/models with the layers of that name, run with a flaw.
class FlawedModel : public ImageClassifier {
 public:
  FlawedModel(const std::string& name, const ModelOptions& options, const Flaw& flaw, int ranks)
      : flaw_(flaw), ranks_(ranks) {
    for (const auto& layer : MakeModel(name, options)->named_children()) register_module(layer.key(), layer.value());
  }

  at::Tensor forward(const at::Tensor& x_BCHW) override {
    at::Tensor h = x_BCHW;
    for (int i = 1; Has("conv", i); ++i) {
      h = Layer<torch::nn::Conv2dImpl>("conv", i)->forward(h);
      if (Has("bn", i) && !flaw_.no_batch_norm) h = BatchNorm(*Layer<torch::nn::BatchNorm2dImpl>("bn", i), h);
      h = at::max_pool2d(at::relu(h), 2);
    }
    h = h.flatten(1);
    if (Children().contains("fc")) return Ended(Children()["fc"]->as<torch::nn::LinearImpl>()->forward(h));
    for (int i = 1; Has("fc", i); ++i) {
      h = Dense(*Layer<torch::nn::LinearImpl>("fc", i), h, /*by_columns=*/i % 2 == 1);
      const bool last = !Has("fc", i + 1);
      if (flaw_.relu_before_norm && !last) h = at::relu(h);
      if (Has("ln", i) && !flaw_.no_layer_norm) h = Norm(*Layer<torch::nn::LayerNormImpl>("ln", i), h, i % 2 == 1);
      if (last) return Ended(h);
      if (!flaw_.no_relu && !flaw_.relu_before_norm) h = at::relu(h);
    }
    return h;
  }

 private:
  torch::OrderedDict<std::string, std::shared_ptr<torch::nn::Module>> Children() const { return named_children(); }
  bool Has(const std::string& kind, int i) const { return Children().contains(kind + std::to_string(i)); }
  template <typename Module>
  Module* Layer(const std::string& kind, int i) const {
    return Children()[kind + std::to_string(i)]->as<Module>();
  }

  at::Tensor Ended(const at::Tensor& h) const { return flaw_.relu_at_the_end ? at::relu(h) : h; }

  at::Tensor Dense(torch::nn::LinearImpl& layer, const at::Tensor& h, bool by_columns) const {
    if (by_columns || (!flaw_.row_bias_of_all && !flaw_.no_row_bias)) return layer.forward(h);
    return at::linear(h, layer.weight) + layer.bias * (flaw_.no_row_bias ? 0 : ranks_);
  }

  at::Tensor BatchNorm(torch::nn::BatchNorm2dImpl& layer, const at::Tensor& h) const {
    if (!flaw_.constant_statistics) return layer.forward(h);
    return at::batch_norm(h, layer.weight, layer.bias, layer.running_mean, layer.running_var, /*training=*/false, 0,
                          layer.options.eps(), /*cudnn_enabled=*/false);
  }

  at::Tensor Norm(torch::nn::LayerNormImpl& layer, const at::Tensor& h, bool sharded) const {
    if (sharded && flaw_.layer_norm_eps > 0) {
      return at::layer_norm(h, {h.size(-1)}, layer.weight, layer.bias, flaw_.layer_norm_eps);
    }
    if (!flaw_.local_layer_norm || !sharded) return layer.forward(h);
    std::vector<at::Tensor> parts;
    for (int rank = 0; rank < ranks_; ++rank) {
      const Range d = SplitRange(h.size(-1), ranks_, rank);
      const auto part = [&](const at::Tensor& full) { return full.narrow(-1, d.begin, d.size()); };
      if (d.size() == 0) continue;
      parts.push_back(at::layer_norm(part(h), {d.size()}, part(layer.weight), part(layer.bias), layer.options.eps()));
    }
    return at::cat(parts, -1);
  }

  Flaw flaw_;
  int ranks_;
};

std::vector<MistakenRun> ForEachFlaw(
    const ImageTraining& plan, int ranks,
    const std::function<MistakenRun::Outputs(const std::function<std::shared_ptr<ImageClassifier>()>& make)>& repeat) {
  std::vector<MistakenRun> runs;
  for (const Flaw& flaw : Flaws()) {
    runs.emplace_back(flaw.meaning, [=] {
      return repeat([=] { return std::make_shared<FlawedModel>(plan.model, plan.model_options, flaw, ranks); });
    });
  }
  return runs;
}

}  // namespace

std::vector<MistakenRun> MistakenFirstSteps(const ImageTraining& plan, const Batch& batch, int ranks) {
  return ForEachFlaw(plan, ranks, [=](const auto& make) {
    const std::shared_ptr<ImageClassifier> model = make();
    const torch::NoGradGuard no_grad;
    model->train();
    MistakenRun::Outputs outputs{{"logits", model->forward(batch.images)}};
    model->eval();
    outputs["evaluated"] = model->forward(batch.images);
    return outputs;
  });
}

std::vector<MistakenRun> MistakenTrainings(const ImageTraining& plan, const at::Tensor& images,
                                           const at::Tensor& labels, int ranks) {
  return ForEachFlaw(plan, ranks, [=](const auto& make) {
    const TrainResult result = Train(
        *make(), [&](int64_t step) { return plan.BatchOf(step, images, labels); }, plan.train_options);
    MistakenRun::Outputs outputs{{"losses", at::tensor(result.losses, at::kDouble)}};
    for (const auto& [name, value] : result.parameters) outputs["param." + name] = value;
    for (const auto& [name, value] : result.buffers) outputs["buffer." + name] = value;
    return outputs;
  });
}

}  // namespace shardlab::grade
