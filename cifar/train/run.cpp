#include "run.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include <fmt/format.h>

#include "pipeline_plan.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/cifar/files.hpp"
#include "shardlab/report/chart.hpp"
#include "shardlab/report/files.hpp"
#include "task.hpp"

namespace shardlab::train {
namespace {

// The mean of the last tenth of the steps: one step's loss is as much its batch's as the model's.
double LastLoss(const Figures& figures) {
  const size_t count = std::max<size_t>(1, figures.losses.size() / 10);
  double sum = 0;
  for (size_t i = figures.losses.size() - count; i < figures.losses.size(); ++i) sum += figures.losses[i];
  return sum / static_cast<double>(count);
}

void PrintFigures(const std::string& who, const Figures& figures) {
  fmt::print("{:<24} loss {:.4f} to {:.4f}   test accuracy {:5.2f} %   {:.1f} s\n", who, figures.losses.front(),
             LastLoss(figures), 100 * figures.accuracy, figures.seconds);
  std::fflush(stdout);
}

void Compare(const Plan& plan, const Figures& mesh, const Figures& single) {
  double worst = 0;
  int64_t worst_step = 0;
  int64_t first_apart = -1;
  std::vector<double> tolerance;
  for (int64_t step = 0; step < static_cast<int64_t>(mesh.losses.size()); ++step) {
    const double reference = single.losses[static_cast<size_t>(step)];
    const double apart = std::abs(mesh.losses[static_cast<size_t>(step)] - reference);
    tolerance.push_back(1e-10 * static_cast<double>(step + 1) * std::max(1.0, std::abs(reference)));
    if (!(apart <= worst)) {
      worst = apart;
      worst_step = step;
    }
    if (first_apart < 0 && !(apart <= tolerance.back())) first_apart = step;
  }
  const bool exact = plan.dtype == "float64";
  if (!plan.chart.empty()) {
    WriteFileSafely(plan.chart,
                    LearningCurveSvg(fmt::format("{} on {}, {}", plan.model, plan.mesh, plan.data), mesh.losses,
                                     single.losses, exact ? tolerance : std::vector<double>{}));
    fmt::print("both curves: {}\n", plan.chart);
  }
  fmt::print("largest difference of a step's loss: {:.1e} (step {})\n", worst, worst_step + 1);
  std::fflush(stdout);
  if (exact && first_apart >= 0) {
    const auto step = static_cast<size_t>(first_apart);
    throw std::runtime_error(
        fmt::format("the mesh does not train as one process does: from step {} on the losses are "
                    "apart, {:.9g} on the mesh and {:.9g} in one process, {:.1e} allowed",
                    first_apart + 1, mesh.losses[step], single.losses[step], tolerance[step]));
  }
}

Task MakeTask(const Plan& plan, const DeviceMesh& mesh) {
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
  task.record = RecordOf(plan);
  if (!plan.resume.empty()) {
    task.record = ReadRecord(plan.resume);
    // Shards are each rank's own; stages may be cut elsewhere than they were.
    task.restored = ReadParts(plan.resume, task.record, task.record.tensor > 1 ? mesh.Coordinate("tensor") : -1);
  }
  return task;
}

}  // namespace

void TrainRank(const Plan& plan, std::shared_ptr<Communicator> world) {
  const bool speaks = world->rank() == 0;
  DeviceMesh mesh(std::move(world), plan.axes);
  const Task task = MakeTask(plan, mesh);
  if (speaks) {
    fmt::print("{} on {} ({} rank{}), {}: {} images, {} steps of {}, {}, lr {}, seed {}, {}\n", plan.model, plan.mesh,
               plan.ranks(), plan.ranks() == 1 ? "" : "s", task.train->name, task.train->size(), plan.steps, plan.batch,
               plan.optimizer, plan.learning_rate, plan.seed, plan.dtype);
    if (!plan.resume.empty()) fmt::print("goes on from step {} of {}\n", task.first_step(), plan.resume);
    std::fflush(stdout);
  }

  PipelineFigures on_mesh;
  if (plan.pipeline) {
    on_mesh = TrainOnPipeline(task, mesh);
  } else {
    on_mesh.figures = TrainOnMesh(task, mesh);
  }
  if (!speaks) return;
  PrintFigures(fmt::format("{} rank{}", plan.ranks(), plan.ranks() == 1 ? "" : "s"), on_mesh.figures);
  if (!plan.save.empty()) {
    fmt::print("checkpoint: {0} (lab train --resume {0} goes on)\n", plan.save);
    std::fflush(stdout);
  }
  if (plan.compare) {
    const Figures single = TrainInOneProcess(task, on_mesh.balance);
    PrintFigures(plan.pipeline && IsAsynchronous(plan) ? "one process, as delayed" : "one process", single);
    Compare(plan, on_mesh.figures, single);
  } else if (!plan.chart.empty()) {
    ChartSeries series;
    series.name = plan.model;
    series.y = on_mesh.figures.losses;
    ChartOptions options;
    options.title = fmt::format("{} on {}, {}", plan.model, plan.mesh, plan.data);
    WriteFileSafely(plan.chart, LineChartSvg({series}, options));
    fmt::print("curve: {}\n", plan.chart);
  }
}

}  // namespace shardlab::train
