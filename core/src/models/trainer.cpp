#include "shardlab/models/trainer.hpp"

#include <algorithm>
#include <memory>

#include <ATen/ATen.h>
#include <fmt/format.h>
// clip_grad.h uses torch::Tensor and does not include it.
#include <torch/types.h>

#include <torch/nn/utils/clip_grad.h>
#include <torch/optim/optimizer.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/layers/layer.hpp"
#include "shardlab/models/classifiers.hpp"

namespace shardlab {
namespace {

void CheckBatch(const Batch& batch) {
  if (!batch.images.defined() || !batch.labels.defined() || batch.images.dim() < 1 || batch.images.size(0) < 1) {
    throw ContractError("a batch needs at least 1 image");
  }
  if (batch.labels.dim() != 1 || batch.labels.size(0) != batch.images.size(0)) {
    throw ContractError(fmt::format("a batch of {} images needs as many labels in one dimension, not {} in {}",
                                    batch.images.size(0), batch.labels.numel(), batch.labels.dim()));
  }
}

void CheckOptions(const TrainOptions& options) {
  if (options.steps < 0) throw ContractError(fmt::format("training takes 0 steps or more, not {}", options.steps));
  RequireRecipe(options.recipe);
  if (options.slices < 1) throw ContractError(fmt::format("a batch has 1 slice or more, not {}", options.slices));
}

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
    at.statistics = options.statistics;
    if (count < 1) throw ContractError("a part of a batch has at least 1 image");
    begin += count;
    parts.push_back(at);
  }
  if (begin != size) throw ContractError(fmt::format("the parts of a batch of {} images have {}", size, begin));
  return parts;
}

std::vector<std::pair<std::string, at::Tensor>> Copies(const torch::OrderedDict<std::string, at::Tensor>& tensors) {
  std::vector<std::pair<std::string, at::Tensor>> copies;
  for (const auto& item : tensors) copies.emplace_back(item.key(), item.value().detach().clone());
  return copies;
}

}  // namespace

TrainResult Train(ImageClassifier& model, const BatchSource& batches, const TrainOptions& options) {
  CheckOptions(options);
  const auto optimizer = MakeOptimizer(options.recipe, model.parameters());
  model.train();
  TrainResult result;
  for (int64_t step = 0; step < options.steps; ++step) {
    const Batch batch = batches(step);
    CheckBatch(batch);
    const int64_t size = batch.images.size(0);
    optimizer->zero_grad();
    double step_loss = 0.0;
    for (const MicroBatch& at : PartsOf(size, step, options)) {
      const Range part = at.samples;
      model.Prepare(at);
      const at::Tensor logits_BK = model.forward(batch.images.slice(0, part.begin, part.end));
      const double weight = static_cast<double>(part.size()) / static_cast<double>(size);
      const at::Tensor loss = at::cross_entropy_loss(logits_BK, batch.labels.slice(0, part.begin, part.end)) * weight;
      loss.backward();
      step_loss += loss.item<double>();
    }
    const Recipe& recipe = options.recipe;
    if (recipe.clip_norm > 0) torch::nn::utils::clip_grad_norm_(model.parameters(), recipe.clip_norm);
    StepScaled(*optimizer, recipe.rate_factor ? recipe.rate_factor(step) : 1.0);
    result.losses.push_back(step_loss);
    if (options.on_step) options.on_step(step, step_loss);
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
