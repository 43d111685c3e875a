// The single process that a mesh is compared with.

#include <algorithm>
#include <chrono>

#include <fmt/format.h>

#include "pipeline_request.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/models/sequences.hpp"
#include "shardlab/report/progress.hpp"
#include "train.hpp"

namespace shardlab::train {
namespace {

// BatchNorm normalises the part of a batch that it sees, so one process runs the parts that the mesh runs: each
// replica's, and of these each micro-batch.
std::vector<int64_t> PartsOf(const TrainRequest& request, int64_t size) {
  std::vector<int64_t> parts;
  for (const int64_t replica : SplitSizes(size, std::min<int64_t>(request.Along("data"), size))) {
    const int pieces = request.pipeline ? MicroBatchesOf(request, replica) : 1;
    for (const int64_t piece : SplitSizes(replica, pieces)) parts.push_back(piece);
  }
  return parts;
}

}  // namespace

Figures TrainInOneProcess(const Task& task, const Cut& cut) {
  const TrainRequest& request = task.request;
  SequenceClassifier model(MakeSequence(request.model, task.model_options));
  cifar::Loader loader = task.MakeLoader();
  TrainOptions options;
  options.steps = task.first_step() + request.steps;
  options.recipe = request.MakeRecipe();
  options.parts = [&](int64_t size) { return PartsOf(request, size); };
  options.whole_batch_statistics = request.pipeline;
  if (request.pipeline && IsAsynchronous(request)) {
    options.version = [&](const std::string& parameter, int64_t t) {
      return VersionOf(request, StageOf(cut.model, cut.balance, parameter), static_cast<int>(t));
    };
  }
  Progress progress("training in one process", options.steps);
  options.on_step = [&](int64_t step, double loss) { progress.Update(step + 1, fmt::format("loss {:.3f}", loss)); };
  Figures figures;
  const auto start = std::chrono::steady_clock::now();
  figures.losses = Train(
                       model, [&](int64_t step) { return task.BatchOf(loader, step); }, options)
                       .losses;
  figures.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  figures.accuracy = task.TestAccuracy(model);
  return figures;
}

}  // namespace shardlab::train
