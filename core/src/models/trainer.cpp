#include "shardlab/models/trainer.hpp"

#include <algorithm>
#include <map>
#include <memory>

#include <ATen/ATen.h>
#include <fmt/format.h>
// clip_grad.h uses torch::Tensor and does not include it.
#include <torch/types.h>

#include <torch/nn/utils/clip_grad.h>
#include <torch/optim/optimizer.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/layers/batch_norm.hpp"
#include "shardlab/layers/layer.hpp"
#include "shardlab/models/classifiers.hpp"

namespace shardlab {
namespace {

void CheckBatch(const Batch& batch) {
  if (!batch.images.defined() || !batch.labels.defined() || batch.images.dim() < 1 || batch.images.size(0) < 1) {
    throw ContractError("a batch needs at least 1 image");
  }
  if (batch.labels.dim() < 1 || batch.labels.size(0) != batch.images.size(0)) {
    throw ContractError(fmt::format("a batch of {} images needs as many labels, not {}", batch.images.size(0),
                                    batch.labels.dim() < 1 ? 0 : batch.labels.size(0)));
  }
}

void CheckOptions(const TrainOptions& options) {
  if (options.steps < 0) throw ContractError(fmt::format("training takes 0 steps or more, not {}", options.steps));
  RequireRecipe(options.recipe);
  if (options.slices < 1) throw ContractError(fmt::format("a batch has 1 slice or more, not {}", options.slices));
}

// Running statistics by the definition: what a norm saw of a batch, taken as a whole.
class WholeBatchStatistics final : public BatchStatistics {
 public:
  explicit WholeBatchStatistics(const std::set<int>& counted) : counted_(counted) {}

  void Track(MicroBatchNorm& norm, const at::Tensor& x, const MicroBatch& at) override {
    Tensors& seen = seen_[&norm];
    if (counted_.empty() || counted_.count(at.index) > 0) seen.push_back(x);
    if (at.index + 1 < at.count) return;
    const at::Tensor all = at::cat(seen);
    seen.clear();
    at::batch_norm(all, {}, {}, norm.running_mean, norm.running_var, true, norm.momentum, norm.eps, false);
    norm.num_batches_tracked.add_(1);
  }

 private:
  const std::set<int>& counted_;
  std::map<const MicroBatchNorm*, Tensors> seen_;
};

// The parameters of older versions, and the newest ones while the model computes on others.
class Versions {
 public:
  Versions(const ImageClassifier& model, const TrainOptions& options) : version_(options.mistakes.part_version) {
    if (!version_ && options.version) {
      version_ = [of_all = options.version](const std::string& name, int64_t t, int64_t) { return of_all(name, t); };
    }
    if (!version_) return;
    for (const auto& item : model.named_parameters()) {
      names_.push_back(item.key());
      parameters_.push_back(item.value());
    }
    Keep(0);
  }

  // Gives the model the weights that a part of update t computes on.
  void Begin(int64_t t, int64_t part) {
    if (!version_) return;
    const at::NoGradGuard no_grad;
    int64_t oldest = t;
    for (size_t k = 0; k < parameters_.size(); ++k) {
      const int64_t version = version_(names_[k], t, part);
      const auto held = held_.find(version);
      if (held == held_.end()) {
        throw ContractError(fmt::format("update {} computes `{}` on version {}, which is {}", t, names_[k], version,
                                        version > t ? "not made yet" : "dropped already"));
      }
      parameters_[k].copy_(held->second[k]);
      oldest = std::min(oldest, version);
    }
    held_.erase(held_.begin(), held_.lower_bound(oldest));
  }

  // Gives it the newest ones again, for the step of update t.
  void End(int64_t t) {
    if (!version_) return;
    const at::NoGradGuard no_grad;
    for (size_t k = 0; k < parameters_.size(); ++k) parameters_[k].copy_(held_.at(t)[k]);
  }

  void Keep(int64_t version) {
    if (!version_) return;
    for (const at::Tensor& parameter : parameters_) held_[version].push_back(parameter.detach().clone());
  }

 private:
  std::function<int64_t(const std::string&, int64_t, int64_t)> version_;
  std::vector<std::string> names_;
  Tensors parameters_;
  std::map<int64_t, Tensors> held_;
};

std::vector<MicroBatch> PartsOf(int64_t size, int64_t step, const TrainOptions& options) {
  const std::vector<int64_t> sizes =
      options.parts ? options.parts(size) : SplitSizes(size, std::min(options.slices, size));
  std::vector<MicroBatch> parts;
  int64_t begin = 0;
  for (const int64_t count : sizes) {
    MicroBatch at;
    at.step = step;
    at.index = static_cast<int>(parts.size());
    at.count = static_cast<int>(sizes.size());
    at.samples = {begin, begin + count};
    at.batch = size;
    if (count < 1) throw ContractError("a part of a batch has at least 1 image");
    begin += count;
    parts.push_back(at);
  }
  if (begin != size) throw ContractError(fmt::format("the parts of a batch of {} images have {}", size, begin));
  return parts;
}

// 1 and 2 of a step: its loss, and the gradients in the parameters.
double Gradients(ImageClassifier& model, const Tensors& trained, const Batch& batch, std::vector<MicroBatch> parts,
                 BatchStatistics* statistics, const TrainOptions& options, Versions& versions, int64_t t) {
  const auto clear = [&] {
    for (const at::Tensor& parameter : trained) {
      if (parameter.grad().defined()) parameter.grad().zero_();
    }
  };
  if (!options.mistakes.keeps_gradients) clear();
  double sum = 0;
  for (MicroBatch& at : parts) {
    versions.Begin(t, at.index);
    at.statistics = statistics;
    model.Prepare(at);
    const auto part = [&](const at::Tensor& all) { return all.slice(0, at.samples.begin, at.samples.end); };
    const at::Tensor logits = model.forward(part(batch.images));
    const at::Tensor labels = part(batch.labels);
    const double share = options.mistakes.equal_parts
                             ? 1.0 / at.count
                             : static_cast<double>(at.samples.size()) / static_cast<double>(at.batch);
    const at::Tensor loss =
        (options.mean_loss ? options.mean_loss(logits, labels) : at::cross_entropy_loss(logits, labels)) * share;
    if (options.mistakes.only_last_part) clear();
    loss.backward();
    sum += loss.item<double>();
  }
  return sum;
}

std::vector<std::pair<std::string, at::Tensor>> Copies(const torch::OrderedDict<std::string, at::Tensor>& tensors) {
  std::vector<std::pair<std::string, at::Tensor>> copies;
  for (const auto& item : tensors) copies.emplace_back(item.key(), item.value().detach().clone());
  return copies;
}

}  // namespace

TrainResult Train(ImageClassifier& model, const BatchSource& batches, const TrainOptions& options) {
  CheckOptions(options);
  const Recipe& recipe = options.recipe;
  Tensors trained;
  for (at::Tensor& parameter : model.parameters()) {
    if (!parameter.requires_grad()) continue;
    parameter.mutable_grad() = at::zeros_like(parameter);
    trained.push_back(parameter);
  }
  const auto optimizer = options.optimizer ? options.optimizer(trained) : MakeOptimizer(recipe, trained);
  Versions versions(model, options);
  WholeBatchStatistics statistics(options.counted_parts);
  model.train();
  TrainResult result;
  for (int64_t t = 0; t < options.steps; ++t) {
    const int64_t step = options.first_step + t;
    const Batch batch = batches(step);
    CheckBatch(batch);
    const double loss = Gradients(model, trained, batch, PartsOf(batch.images.size(0), step, options),
                                  options.whole_batch_statistics ? &statistics : nullptr, options, versions, t);
    versions.End(t);
    if (recipe.clip_norm > 0) torch::nn::utils::clip_grad_norm_(trained, recipe.clip_norm);
    StepScaled(*optimizer, recipe.rate_factor ? recipe.rate_factor(step) : 1.0);
    versions.Keep(t + 1);
    result.losses.push_back(loss);
    if (options.on_step) options.on_step(step, loss);
  }
  result.parameters = Copies(model.named_parameters());
  result.buffers = Copies(model.named_buffers());
  return result;
}

double Accuracy(ImageClassifier& model, const Batch& test, int64_t chunk) {
  CheckBatch(test);
  if (chunk < 1) throw ContractError(fmt::format("images are run at least 1 at a time, not {}", chunk));
  const at::NoGradGuard no_grad;
  const bool was_training = model.is_training();
  model.eval();
  const int64_t n = test.images.size(0);
  int64_t right = 0;
  for (int64_t begin = 0; begin < n; begin += chunk) {
    const int64_t end = std::min(begin + chunk, n);
    const at::Tensor guess_B = model.forward(test.images.slice(0, begin, end)).argmax(1);
    right += guess_B.eq(test.labels.slice(0, begin, end)).sum().item<int64_t>();
  }
  model.train(was_training);
  return static_cast<double>(right) / static_cast<double>(n);
}

}  // namespace shardlab
