#include "shardlab/cifar/difficulty.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <numeric>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/optim/optimizer.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/cifar/loader.hpp"
#include "shardlab/models/classifiers.hpp"
#include "shardlab/models/trainer.hpp"

namespace shardlab::cifar {
namespace {

constexpr int64_t kBatch = 64;
constexpr double kVisible = 1e-3;

// A loader keeps its set; these sets outlive it.
std::shared_ptr<const Dataset> Borrow(const Dataset& data) { return {std::shared_ptr<void>(), &data}; }

ModelOptions OptionsFor(const DataSplits& data, uint64_t seed, at::ScalarType dtype) {
  ModelOptions options;
  options.classes = static_cast<int64_t>(data.train.classes.size());
  options.seed = seed;
  options.dtype = dtype;
  return options;
}

enum class Mistake { kNone, kMissingAllReduce, kSumForMean, kBiasTwice, kMissingColumnBackward };

at::Tensor Logits(LeNet& net, const at::Tensor& x_BCHW, Mistake mistake) {
  at::Tensor h = at::max_pool2d(at::relu(net.conv1(x_BCHW)), 2);
  h = at::max_pool2d(at::relu(net.conv2(h)), 2).flatten(1);
  if (mistake == Mistake::kMissingColumnBackward) {
    // Rank 0 sends back its own half of the gradient of h and never receives the other.
    const int64_t half = net.fc1->weight.size(0) / 2;
    h = at::cat({at::linear(h, net.fc1->weight.slice(0, 0, half), net.fc1->bias.slice(0, 0, half)),
                 at::linear(h.detach(), net.fc1->weight.slice(0, half), net.fc1->bias.slice(0, half))},
                1);
  } else {
    h = net.fc1(h);
  }
  h = net.fc2(at::relu(h));
  return mistake == Mistake::kBiasTwice ? h + net.fc2->bias : h;
}

std::vector<double> LossesWith(Mistake mistake, const DataSplits& data, int64_t steps, uint64_t seed) {
  LeNet net(OptionsFor(data, seed, at::kDouble), /*batch_norm=*/false);
  const auto optimizer = MakeOptimizer(Recipe(), net.parameters());
  LoaderOptions options;
  options.batch = kBatch;
  options.seed = seed;
  options.dtype = at::kDouble;
  Loader loader(Borrow(data.train), Measure(data.train), options);

  std::vector<double> losses;
  for (int64_t step = 0; step < steps; ++step) {
    const Batch batch = loader.Get(step);
    optimizer->zero_grad();
    const at::Tensor loss = at::cross_entropy_loss(Logits(net, batch.images, mistake), batch.labels);
    losses.push_back(loss.item<double>());
    if (mistake == Mistake::kMissingAllReduce) {
      const Batch own = loader.Get(step, 0, 2);
      at::cross_entropy_loss(Logits(net, own.images, mistake), own.labels).backward();
    } else {
      (mistake == Mistake::kSumForMean ? loss * 2.0 : loss).backward();
    }
    optimizer->step();
  }
  return losses;
}

}  // namespace

ModelFigure TrainFigure(const std::string& model_name, const DataSplits& data, int64_t steps, uint64_t seed) {
  const auto start = std::chrono::steady_clock::now();
  const std::shared_ptr<ImageClassifier> model = MakeModel(model_name, OptionsFor(data, seed, at::kFloat));
  const Normalization normalization = Measure(data.train);
  LoaderOptions loading;
  loading.batch = kBatch;
  loading.seed = seed;
  Loader loader(Borrow(data.train), normalization, loading);

  TrainOptions training;
  training.steps = steps;
  const TrainResult result = Train(
      *model, [&](int64_t step) { return loader.Get(step); }, training);

  ModelFigure figure;
  figure.model = model_name;
  figure.test_accuracy = Accuracy(*model, WholeSet(data.test, normalization));
  if (!result.losses.empty()) {
    const auto last = result.losses.end() - std::min<std::ptrdiff_t>(10, std::ptrdiff_t(result.losses.size()));
    figure.first_loss = result.losses.front();
    figure.last_loss = std::accumulate(last, result.losses.end(), 0.0) / double(result.losses.end() - last);
  }
  figure.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return figure;
}

std::vector<MistakeFigure> MistakeFigures(const DataSplits& data, int64_t steps, uint64_t seed) {
  const std::vector<double> right = LossesWith(Mistake::kNone, data, steps, seed);
  std::vector<MistakeFigure> figures;
  const auto measure = [&](const char* words, Mistake mistake) {
    const std::vector<double> wrong = LossesWith(mistake, data, steps, seed);
    MistakeFigure figure;
    figure.mistake = words;
    for (size_t i = 0; i < right.size(); ++i) {
      const double change = std::abs(wrong[i] - right[i]) / std::max(std::abs(right[i]), 1.0);
      figure.loss_change = std::max(figure.loss_change, change);
      if (change > kVisible && figure.first_visible < 0) figure.first_visible = static_cast<int64_t>(i);
    }
    figures.push_back(figure);
  };
  measure("gradients not all-reduced", Mistake::kMissingAllReduce);
  measure("a sum of gradients for their mean", Mistake::kSumForMean);
  measure("a row-parallel bias added twice", Mistake::kBiasTwice);
  measure("no all-reduce behind a column-parallel layer", Mistake::kMissingColumnBackward);
  return figures;
}

}  // namespace shardlab::cifar
