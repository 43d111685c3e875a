// The single process that a mesh is compared with.

#include <algorithm>
#include <chrono>
#include <map>

#include <fmt/format.h>
#include <torch/torch.h>

#include "pipeline_plan.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/models/sequences.hpp"
#include "shardlab/pipeline/deferred_statistics.hpp"
#include "shardlab/report/progress.hpp"
#include "task.hpp"

namespace shardlab::train {
namespace {

// BatchNorm normalises the part of a batch that it sees, so one process runs the parts that the mesh runs: each
// replica's, and of these each micro-batch.
std::vector<int64_t> PartsOf(const Plan& plan, int64_t size) {
  std::vector<int64_t> parts;
  for (const int64_t replica : SplitSizes(size, std::min<int64_t>(plan.Along("data"), size))) {
    const int pieces = plan.pipeline ? MicroBatchesOf(plan, replica) : 1;
    for (const int64_t piece : SplitSizes(replica, pieces)) parts.push_back(piece);
  }
  return parts;
}

// The definition of an asynchronous schedule, step by step: the gradient of update t is computed with each stage's
// weights at the version that the schedule names, and the newest weights take the step.
//
//     W(t+1) = W(t) - optimizer(gradient of batch t at the versions v_s(t))
class DelayedTraining {
 public:
  DelayedTraining(const Task& task, const std::vector<int>& balance)
      : task_(task),
        newest_(MakeSequence(task.plan.model, task.model_options)),
        worker_(MakeSequence(task.plan.model, task.model_options)),
        optimizer_(MakeOptimizer(task.plan.MakeRecipe(), newest_.parameters())) {
    for (const auto& layer : newest_.layers()) of_newest_.push_back(layer->parameters());
    for (const auto& layer : worker_.layers()) of_worker_.push_back(layer->parameters());
    for (size_t stage = 0; stage < balance.size(); ++stage) {
      stage_of_.insert(stage_of_.end(), static_cast<size_t>(balance[stage]), static_cast<int>(stage));
    }
    Remember(0);
  }

  double Step(int64_t step, const Batch& batch, BatchStatistics* statistics) {
    const torch::NoGradGuard no_grad;
    const int update = static_cast<int>(step);
    for (size_t layer = 0; layer < of_worker_.size(); ++layer) {
      const auto& weights = versions_.at(VersionOf(task_.plan, stage_of_[layer], update))[layer];
      for (size_t k = 0; k < weights.size(); ++k) {
        of_worker_[layer][k].copy_(weights[k]);
        of_worker_[layer][k].mutable_grad() = at::Tensor();
      }
    }
    const double loss = Gradients(step, batch, statistics);
    for (size_t layer = 0; layer < of_newest_.size(); ++layer) {
      for (size_t k = 0; k < of_newest_[layer].size(); ++k) {
        of_newest_[layer][k].mutable_grad() = of_worker_[layer][k].grad();
      }
    }
    optimizer_->step();
    Remember(update + 1);
    return loss;
  }

  // The newest weights with the running statistics, which all versions share.
  ImageClassifier& model() {
    const torch::NoGradGuard no_grad;
    for (size_t layer = 0; layer < of_worker_.size(); ++layer) {
      for (size_t k = 0; k < of_worker_[layer].size(); ++k) of_worker_[layer][k].copy_(of_newest_[layer][k]);
    }
    return worker_;
  }

 private:
  double Gradients(int64_t step, const Batch& batch, BatchStatistics* statistics) {
    const torch::AutoGradMode with_grad(true);
    const int64_t size = batch.images.size(0);
    const std::vector<int64_t> parts = PartsOf(task_.plan, size);
    double sum = 0;
    int64_t begin = 0;
    MicroBatch at;
    at.step = step;
    at.count = static_cast<int>(parts.size());
    at.batch = size;
    at.statistics = statistics;
    for (const int64_t count : parts) {
      at.samples = {begin, begin + count};
      begin += count;
      worker_.Prepare(at);
      const at::Tensor logits_BK = worker_.forward(batch.images.slice(0, at.samples.begin, at.samples.end));
      const at::Tensor loss =
          at::cross_entropy_loss(logits_BK, batch.labels.slice(0, at.samples.begin, at.samples.end)) *
          (static_cast<double>(count) / static_cast<double>(size));
      loss.backward();
      sum += loss.item().toDouble();
      ++at.index;
    }
    return sum;
  }

  void Remember(int version) {
    std::vector<std::vector<at::Tensor>> copy;
    for (const auto& layer : of_newest_) {
      copy.emplace_back();
      for (const at::Tensor& parameter : layer) copy.back().push_back(parameter.detach().clone());
    }
    versions_[version] = std::move(copy);
    versions_.erase(version - task_.plan.Along("pipe") - 1);  // no schedule looks further back
  }

  const Task& task_;
  SequenceClassifier newest_, worker_;
  std::unique_ptr<torch::optim::Optimizer> optimizer_;
  std::vector<std::vector<at::Tensor>> of_newest_, of_worker_;    // parameters of each layer
  std::vector<int> stage_of_;                                     // of each layer
  std::map<int, std::vector<std::vector<at::Tensor>>> versions_;  // parameters of each layer, by version
};

}  // namespace

Figures TrainInOneProcess(const Task& task, const std::vector<int>& balance) {
  const Plan& plan = task.plan;
  const int64_t steps = task.first_step() + plan.steps;
  cifar::Loader loader = task.MakeLoader();
  const auto statistics = plan.pipeline && KeepsStatistics(task) ? MakeDeferredStatistics() : nullptr;
  Progress progress("training in one process", steps);
  const auto show = [&](int64_t step, double loss) { progress.Update(step + 1, fmt::format("loss {:.3f}", loss)); };
  Figures figures;
  const auto start = std::chrono::steady_clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };

  if (plan.pipeline && IsAsynchronous(plan)) {
    DelayedTraining training(task, balance);
    for (int64_t step = 0; step < steps; ++step) {
      figures.losses.push_back(training.Step(step, task.BatchOf(loader, step), statistics.get()));
      show(step, figures.losses.back());
    }
    figures.seconds = seconds();
    figures.accuracy = task.TestAccuracy(training.model());
    return figures;
  }

  // As the engine makes it, so that dropout and statistics go the same ways.
  const std::shared_ptr<ImageClassifier> model =
      plan.pipeline ? std::make_shared<SequenceClassifier>(MakeSequence(plan.model, task.model_options))
                    : MakeModel(plan.model, task.model_options);
  TrainOptions options;
  options.steps = steps;
  options.recipe = plan.MakeRecipe();
  options.parts = [&](int64_t size) { return PartsOf(plan, size); };
  options.statistics = statistics.get();
  options.on_step = show;
  figures.losses = Train(
                       *model, [&](int64_t step) { return task.BatchOf(loader, step); }, options)
                       .losses;
  figures.seconds = seconds();
  figures.accuracy = task.TestAccuracy(*model);
  return figures;
}

}  // namespace shardlab::train
