#include "run.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <vector>

#include <fmt/format.h>
#include <torch/torch.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/cifar/files.hpp"
#include "shardlab/cifar/loader.hpp"
#include "shardlab/communication/data_parallel.hpp"
#include "shardlab/models/trainer.hpp"
#include "shardlab/report/chart.hpp"
#include "shardlab/report/files.hpp"
#include "shardlab/report/progress.hpp"
#include "shardlab/tensor_parallel/parallel_model.hpp"

namespace shardlab::train {
namespace {

constexpr int64_t kBucketBytes = int64_t{1} << 20;

double Seconds(std::chrono::steady_clock::time_point since) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - since).count();
}

std::unique_ptr<torch::optim::Optimizer> MakeOptimizer(const Plan& plan, const std::vector<at::Tensor>& parameters) {
  if (plan.optimizer == "adam") {
    return std::make_unique<torch::optim::Adam>(parameters, torch::optim::AdamOptions(plan.learning_rate));
  }
  return std::make_unique<torch::optim::SGD>(parameters,
                                             torch::optim::SGDOptions(plan.learning_rate).momentum(plan.momentum));
}

ModelOptions OptionsOf(const Plan& plan, const cifar::Dataset& data) {
  ModelOptions options;
  options.classes = static_cast<int64_t>(data.classes.size());
  options.dtype = plan.dtype == "float64" ? at::kDouble : at::kFloat;
  options.seed = plan.seed;
  return options;
}

struct Figures {
  std::vector<double> losses;
  double accuracy = 0;
  double seconds = 0;
};

// The mean of the last tenth of the steps: one step's loss is as much its batch's as the model's.
double LastLoss(const Figures& figures) {
  const size_t count = std::max<size_t>(1, figures.losses.size() / 10);
  double sum = 0;
  for (size_t i = figures.losses.size() - count; i < figures.losses.size(); ++i) sum += figures.losses[i];
  return sum / static_cast<double>(count);
}

// Everything that all ranks, and the single process, have in common.
struct Task {
  Plan plan;
  std::shared_ptr<const cifar::Dataset> train;
  cifar::Normalization normalization;
  Batch test;
  ModelOptions model_options;

  cifar::Loader MakeLoader() const {
    cifar::LoaderOptions options;
    options.batch = std::min<int64_t>(plan.batch, train->size());
    options.seed = plan.seed;
    options.augment = plan.augment;
    options.dtype = model_options.dtype;
    return cifar::Loader(train, normalization, options);
  }
};

Figures TrainOnMesh(const Task& task, DeviceMesh& mesh) {
  const Plan& plan = task.plan;
  const int replicas = mesh.Size("data");
  const int replica = mesh.Coordinate("data");
  const std::shared_ptr<Communicator> data_ranks = mesh.Along("data");
  const std::shared_ptr<ImageClassifier> model =
      MakeParallelModel(plan.model, task.model_options, mesh.Along("tensor"));
  cifar::Loader loader = task.MakeLoader();
  const auto optimizer = MakeOptimizer(plan, model->parameters());
  const Trainable trainable{model->parameters(), [&](const at::Tensor& images, const at::Tensor& labels) {
                              return at::cross_entropy_loss(model->forward(images), labels);
                            }};

  Figures figures;
  const auto start = std::chrono::steady_clock::now();
  std::unique_ptr<Progress> progress;
  if (mesh.world().rank() == 0) progress = std::make_unique<Progress>("training on the mesh", plan.steps);
  model->train();
  for (int64_t step = 0; step < plan.steps; ++step) {
    const int64_t whole = static_cast<int64_t>(loader.Samples(step).size());
    const Batch mine = loader.Get(step, replica, replicas);
    optimizer->zero_grad();
    double loss = 0;
    if (replicas == 1) {
      const at::Tensor mean_loss = trainable.mean_loss(mine.images, mine.labels);
      mean_loss.backward();
      loss = mean_loss.item().toDouble();
    } else {
      const at::Tensor share = at::scalar_tensor(
          DataParallelStep(*data_ranks, trainable, mine.images, mine.labels, whole, /*micro_batches=*/1, kBucketBytes),
          at::kDouble);
      data_ranks->AllReduce(share);
      loss = share.item().toDouble();
    }
    optimizer->step();
    figures.losses.push_back(loss);
    if (progress) progress->Update(step + 1, fmt::format("loss {:.3f}", loss));
  }
  progress.reset();
  figures.seconds = Seconds(start);
  figures.accuracy = Accuracy(*model, task.test);
  return figures;
}

Figures TrainInOneProcess(const Task& task) {
  const Plan& plan = task.plan;
  const std::shared_ptr<ImageClassifier> model = MakeModel(plan.model, task.model_options);
  cifar::Loader loader = task.MakeLoader();
  Progress progress("training in one process", plan.steps);
  TrainOptions options;
  options.steps = plan.steps;
  options.optimizer = plan.optimizer == "adam" ? OptimizerKind::kAdam : OptimizerKind::kSgd;
  options.learning_rate = plan.learning_rate;
  options.momentum = plan.momentum;
  // BatchNorm normalises the slice that it sees, so one process runs the same slices.
  options.slices = plan.Along("data");
  options.on_step = [&](int64_t step, double loss) { progress.Update(step + 1, fmt::format("loss {:.3f}", loss)); };
  Figures figures;
  const auto start = std::chrono::steady_clock::now();
  figures.losses = Train(
                       *model, [&](int64_t step) { return loader.Get(step); }, options)
                       .losses;
  figures.seconds = Seconds(start);
  figures.accuracy = Accuracy(*model, task.test);
  return figures;
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
  for (int64_t step = 0; step < plan.steps; ++step) {
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

}  // namespace

void TrainRank(const Plan& plan, std::shared_ptr<Communicator> world) {
  const bool speaks = world->rank() == 0;
  DeviceMesh mesh(std::move(world), plan.axes);

  cifar::DataSplits splits = cifar::Load(plan.data, plan.folder);
  Task task;
  task.plan = plan;
  task.train = std::make_shared<const cifar::Dataset>(std::move(splits.train));
  task.plan.data = task.train->name;  // what "auto" turned out to be
  task.normalization = cifar::Measure(*task.train);
  task.model_options = OptionsOf(plan, *task.train);
  task.test = cifar::WholeSet(splits.test, task.normalization, task.model_options.dtype);
  if (speaks) {
    fmt::print("{} on {} ({} rank{}), {}: {} images, {} steps of {}, {}, lr {}, seed {}, {}\n", plan.model,
               MeshText(plan.axes), plan.ranks(), plan.ranks() == 1 ? "" : "s", task.train->name, task.train->size(),
               plan.steps, plan.batch, plan.optimizer, plan.learning_rate, plan.seed, plan.dtype);
    std::fflush(stdout);
  }

  const Figures on_mesh = TrainOnMesh(task, mesh);
  if (!speaks) return;
  PrintFigures(fmt::format("{} rank{}", plan.ranks(), plan.ranks() == 1 ? "" : "s"), on_mesh);
  if (plan.compare) {
    const Figures single = TrainInOneProcess(task);
    PrintFigures("one process", single);
    Compare(task.plan, on_mesh, single);
  } else if (!plan.chart.empty()) {
    ChartSeries series;
    series.name = plan.model;
    series.y = on_mesh.losses;
    ChartOptions options;
    options.title = fmt::format("{} on {}, {}", plan.model, plan.mesh, task.plan.data);
    WriteFileSafely(plan.chart, LineChartSvg({series}, options));
    fmt::print("curve: {}\n", plan.chart);
  }
}

}  // namespace shardlab::train
