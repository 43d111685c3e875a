#include "run.hpp"

#include <cstdio>
#include <utility>

#include <fmt/format.h>

#include "pipeline_request.hpp"
#include "report.hpp"
#include "shardlab/cifar/files.hpp"
#include "train.hpp"

namespace shardlab::train {
namespace {

Task MakeTask(const TrainRequest& request) {
  cifar::DataSplits splits = cifar::Load(request.data, request.folder);
  Task task;
  task.request = request;
  task.train = std::make_shared<const cifar::Dataset>(std::move(splits.train));
  task.normalization = cifar::Measure(*task.train);
  task.model_options.classes = static_cast<int64_t>(task.train->classes.size());
  task.model_options.dtype = request.dtype == "float64" ? at::kDouble : at::kFloat;
  task.model_options.seed = request.seed;
  task.model_options.side = request.image;
  task.test = cifar::WholeSet(splits.test, task.normalization, task.model_options.dtype);
  task.record = request.resume.empty() ? RecordOf(request) : ReadRecord(request.resume);
  return task;
}

}  // namespace

void TrainRank(const TrainRequest& request, std::shared_ptr<Communicator> world) {
  const bool speaks = world->rank() == 0;
  DeviceMesh mesh(std::move(world), request.RankAxes());
  const Task task = MakeTask(request);
  if (speaks) {
    fmt::print("{} on {} ({} rank{}), {}: {} images, {} steps of {}, {}, lr {}, seed {}, {}\n", request.model,
               request.mesh, request.ranks(), request.ranks() == 1 ? "" : "s", task.train->name, task.train->size(),
               request.steps, request.batch, request.optimizer, request.learning_rate, request.seed, request.dtype);
    if (!request.resume.empty()) fmt::print("goes on from step {} of {}\n", task.first_step(), request.resume);
    std::fflush(stdout);
  }

  const Trained trained = TrainOnMesh(task, mesh);
  if (!speaks) return;
  PrintFigures(fmt::format("{} rank{}", request.ranks(), request.ranks() == 1 ? "" : "s"), trained.figures);
  if (!request.save.empty()) {
    fmt::print("checkpoint: {0} (lab train --resume {0} goes on)\n", request.save);
    std::fflush(stdout);
  }
  if (request.compare) {
    const Figures single = TrainInOneProcess(task, trained.cut);
    PrintFigures(request.pipeline && IsAsynchronous(request) ? "one process, as delayed" : "one process", single);
    ReportComparison(request, trained.figures, single);
  } else if (!request.chart.empty()) {
    DrawCurve(request, trained.figures);
  }
}

}  // namespace shardlab::train
