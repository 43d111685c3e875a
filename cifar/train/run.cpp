#include "run.hpp"

#include <cstdio>
#include <utility>

#include <fmt/format.h>

#include "pipeline_plan.hpp"
#include "report.hpp"
#include "shardlab/cifar/files.hpp"
#include "train.hpp"

namespace shardlab::train {
namespace {

Task MakeTask(const Plan& plan) {
  cifar::DataSplits splits = cifar::Load(plan.data, plan.folder);
  Task task;
  task.plan = plan;
  task.train = std::make_shared<const cifar::Dataset>(std::move(splits.train));
  task.normalization = cifar::Measure(*task.train);
  task.model_options.classes = static_cast<int64_t>(task.train->classes.size());
  task.model_options.dtype = plan.dtype == "float64" ? at::kDouble : at::kFloat;
  task.model_options.seed = plan.seed;
  task.model_options.side = plan.image;
  task.test = cifar::WholeSet(splits.test, task.normalization, task.model_options.dtype);
  task.record = plan.resume.empty() ? RecordOf(plan) : ReadRecord(plan.resume);
  return task;
}

}  // namespace

void TrainRank(const Plan& plan, std::shared_ptr<Communicator> world) {
  const bool speaks = world->rank() == 0;
  DeviceMesh mesh(std::move(world), plan.axes);
  const Task task = MakeTask(plan);
  if (speaks) {
    fmt::print("{} on {} ({} rank{}), {}: {} images, {} steps of {}, {}, lr {}, seed {}, {}\n", plan.model, plan.mesh,
               plan.ranks(), plan.ranks() == 1 ? "" : "s", task.train->name, task.train->size(), plan.steps, plan.batch,
               plan.optimizer, plan.learning_rate, plan.seed, plan.dtype);
    if (!plan.resume.empty()) fmt::print("goes on from step {} of {}\n", task.first_step(), plan.resume);
    std::fflush(stdout);
  }

  const Trained trained = TrainOnMesh(task, mesh);
  if (!speaks) return;
  PrintFigures(fmt::format("{} rank{}", plan.ranks(), plan.ranks() == 1 ? "" : "s"), trained.figures);
  if (!plan.save.empty()) {
    fmt::print("checkpoint: {0} (lab train --resume {0} goes on)\n", plan.save);
    std::fflush(stdout);
  }
  if (plan.compare) {
    const Figures single = TrainInOneProcess(task, trained.cut);
    PrintFigures(plan.pipeline && IsAsynchronous(plan) ? "one process, as delayed" : "one process", single);
    ReportComparison(plan, trained.figures, single);
  } else if (!plan.chart.empty()) {
    DrawCurve(plan, trained.figures);
  }
}

}  // namespace shardlab::train
