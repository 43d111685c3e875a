// Training along data and pipe.
//
//   mesh data=2,pipe=3          stage 0        stage 1        stage 2
//
//       replica 0               rank 0 ------> rank 1 ------> rank 2       its part of the batch, in micro-batches
//       replica 1               rank 3 ------> rank 4 ------> rank 5       the other part
//                                  \______________\______________\______   REDUCE_GRAD: the sum of both
//
// The loss of a micro-batch counts n_i of all B images of the update, so losses and gradients of the replicas add up.

#include <algorithm>
#include <chrono>
#include <map>
#include <numeric>

#include <fmt/format.h>
#include <torch/torch.h>

#include "pipeline_plan.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/models/profile.hpp"
#include "shardlab/models/sequences.hpp"
#include "shardlab/pipeline/balance.hpp"
#include "shardlab/pipeline/deferred_statistics.hpp"
#include "shardlab/pipeline/engine.hpp"
#include "shardlab/pipeline/stage_times.hpp"
#include "shardlab/plan/traits.hpp"
#include "shardlab/plan/validate.hpp"
#include "shardlab/report/files.hpp"
#include "shardlab/report/progress.hpp"
#include "shardlab/report/terminal.hpp"
#include "task.hpp"
#include "timeline.hpp"

namespace shardlab::train {
namespace {

constexpr int kDrawnUpdates = 3;     // of an asynchronous run
constexpr int64_t kEvaluated = 250;  // images at a time

class PipelineTraining {
 public:
  PipelineTraining(const Task& task, DeviceMesh& mesh);
  Figures Train();
  const std::vector<int>& balance() const { return balance_; }

 private:
  void Cut();
  std::vector<int> MeasuredBalance();
  void PrintCut() const;
  void MakeTheEngine();
  void Resume();
  MiniBatch BatchOf(int64_t step);
  int64_t SamplesOf(int64_t step) { return static_cast<int64_t>(loader_.Samples(step, replica_, replicas_).size()); }
  const Schedule& ScheduleFor(int microbatches);
  std::vector<double> RunSteps();
  double Share(double loss);
  double TestAccuracy();
  void ShowRun();
  NamedTensors State();
  CostModel Costs() const;
  torch::optim::Optimizer* OptimizerOf(int chunk) const {
    const auto found = optimizers_.find(chunk);
    return found == optimizers_.end() ? nullptr : found->second;
  }

  const Task& task_;
  const Plan& plan_;
  DeviceMesh& mesh_;
  const std::shared_ptr<Communicator> pipe_, data_;
  const int replica_, replicas_;
  const bool speaks_;
  const LayerSequence model_;
  cifar::Loader loader_;
  std::vector<LayerProfile> profile_;  // on rank 0
  std::vector<int> balance_;
  StageTimes stage_times_;
  std::map<int, Schedule> schedules_;
  std::map<int, torch::optim::Optimizer*> optimizers_;  // by chunk, of those that have one; they belong to the engine
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Progress> progress_;
  int64_t first_ = 0;
};

PipelineTraining::PipelineTraining(const Task& task, DeviceMesh& mesh)
    : task_(task),
      plan_(task.plan),
      mesh_(mesh),
      pipe_(mesh.Along("pipe")),
      data_(mesh.Along("data")),
      replica_(mesh.Coordinate("data")),
      replicas_(mesh.Size("data")),
      speaks_(mesh.world().rank() == 0),
      model_(MakeSequence(plan_.model, task.model_options)),
      loader_(task.MakeLoader()),
      first_(task.first_step()) {
  const int64_t epoch = loader_.batches_per_epoch();
  for (int64_t step = first_; step < first_ + std::min(plan_.steps, epoch); ++step) {
    const auto batch = static_cast<int64_t>(loader_.Samples(step).size());
    const int64_t needed = IsAsynchronous(plan_) ? int64_t{replicas_} * plan_.micro_batches : replicas_;
    if (batch < needed) {
      throw UsageError(
          fmt::format("--batch {}: the last batch of an epoch has {} of {} images, and {} are needed: choose "
                      "one that divides {}",
                      plan_.batch, batch, task.train->size(), needed, task.train->size()));
    }
    MicroBatchesOf(plan_, batch / replicas_);
  }
  Cut();
  MakeTheEngine();
  Resume();
}

// Rank 0 measures the layers, and everybody gets its cut.
void PipelineTraining::Cut() {
  const int stages = StagesOf(plan_);
  at::Tensor sizes = at::zeros({stages}, at::kLong);
  if (speaks_) {
    const int64_t images = std::max<int64_t>(1, SamplesOf(first_) / MicroBatchesOf(plan_, SamplesOf(first_)));
    profile_ = ProfileLayers(model_, {task_.Enlarged(loader_.Get(first_).images.slice(0, 0, images))}, {3});
    balance_ = FixedBalance(plan_, static_cast<int>(model_.size()));
    if (balance_.empty()) balance_ = MeasuredBalance();
    sizes = at::tensor(std::vector<int64_t>(balance_.begin(), balance_.end()), at::kLong);
  }
  mesh_.world().Broadcast(sizes, 0);
  balance_.assign(sizes.data_ptr<int64_t>(), sizes.data_ptr<int64_t>() + stages);
  if (speaks_) PrintCut();
}

std::vector<int> PipelineTraining::MeasuredBalance() {
  const bool recomputes = plan_.recompute != "never";
  const int copies = plan_.optimizer == "adam" ? 4 : 3;
  const Footprint keeps = Validate(ScheduleFor(MicroBatchesOf(plan_, SamplesOf(first_))));
  const int live = *std::max_element(keeps.live.begin(), keeps.live.end());
  try {
    return Balance(plan_.balance == "memory" ? BytesOf(profile_, copies, live) : SecondsOf(profile_, recomputes),
                   StagesOf(plan_));
  } catch (const NotImplemented&) {
    if (!plan_.balance.empty()) throw;
    Plan even = plan_;  // nobody asked for a good cut
    even.balance = "even";
    return FixedBalance(even, static_cast<int>(model_.size()));
  }
}

void PipelineTraining::PrintCut() const {
  constexpr double kMiB = 1 << 20;
  const CostModel costs = Costs();
  fmt::print("\nstage  layers                             parameters  forward + backward  activations\n");
  size_t layer = 0;
  for (size_t stage = 0; stage < balance_.size(); ++stage) {
    int64_t parameters = 0, activations = 0;
    const size_t begin = layer;
    for (; layer < begin + static_cast<size_t>(balance_[stage]); ++layer) {
      parameters += profile_[layer].parameters;
      activations += profile_[layer].activation_bytes;
    }
    const std::string layers =
        balance_[stage] == 1 ? model_[begin].name
                             : fmt::format("{}: {} to {}", balance_[stage], model_[begin].name, model_[layer - 1].name);
    fmt::print("{:<5}  {:<34} {:>10}  {:>15.2f} ms  {:>7.2f} MiB\n", stage, layers,
               PrettyNumber(static_cast<double>(parameters)),
               1e3 * (costs.forward[stage] + costs.backward_input[stage] + costs.backward_weight[stage]),
               static_cast<double>(activations) / kMiB);
  }
  fmt::print("--balance {}; times and activations are those of one micro-batch\n\n", BalanceText(balance_));
  std::fflush(stdout);
}

CostModel PipelineTraining::Costs() const {
  CostModel costs;
  costs.forward.assign(balance_.size(), 0);
  costs.backward_input.assign(balance_.size(), 0);
  size_t layer = 0;
  for (size_t stage = 0; stage < balance_.size(); ++stage) {
    for (int i = 0; i < balance_[stage]; ++i, ++layer) {
      costs.forward[stage] += profile_[layer].forward_s;
      costs.backward_input[stage] += profile_[layer].backward_s / 2;
    }
  }
  costs.backward_weight = costs.backward_input;
  return costs;
}

void PipelineTraining::MakeTheEngine() {
  const bool splits = TraitsOf(plan_.schedule).splits_backward;
  const Layout layout = ScheduleFor(MicroBatchesOf(plan_, SamplesOf(first_))).layout;
  PipelineSetup setup{model_, balance_, layout};
  setup.loss = [](const Tensors& outputs, const at::Tensor& targets) {
    return at::cross_entropy_loss(outputs[0], targets);
  };
  setup.optimizer = [this](int chunk, const std::vector<at::Tensor>& parameters) {
    auto optimizer = MakeOptimizer(plan_.MakeRecipe(), parameters);
    optimizers_[chunk] = optimizer.get();
    return optimizer;
  };
  setup.stage = stage_times_.Watched([splits](int) { return splits ? MakeSplitStage() : MakeStage(); });
  setup.weights = IsAsynchronous(plan_) ? WeightStoreFactory(MakeWeightVersions) : WeightStoreFactory(MakeWeights);
  if (KeepsStatistics(task_)) setup.statistics = MakeDeferredStatistics();
  setup.first_update = first_;
  if (replicas_ > 1) setup.same_weights = data_;
  engine_ = MakeEngine(std::move(setup), pipe_);
}

void PipelineTraining::Resume() {
  if (plan_.resume.empty()) return;
  const Layout& layout = schedules_.begin()->second.layout;
  for (const int chunk : layout.ChunksOf(pipe_->rank())) {
    const StageModule& module = engine_->Module(chunk);
    Restore(plan_.resume, task_.restored, module.NamedParameters(), module.NamedBuffers(), OptimizerOf(chunk));
  }
}

NamedTensors PipelineTraining::State() {
  NamedTensors state;
  const Layout& layout = schedules_.begin()->second.layout;
  for (const int chunk : layout.ChunksOf(pipe_->rank())) {
    const StageModule& module = engine_->Module(chunk);
    state.merge(StateOf(module.NamedParameters(), module.NamedBuffers(), OptimizerOf(chunk)));
  }
  return state;
}

const Schedule& PipelineTraining::ScheduleFor(int microbatches) {
  const auto found = schedules_.find(microbatches);
  if (found != schedules_.end()) return found->second;
  const int updates = IsAsynchronous(plan_) ? static_cast<int>(plan_.steps) : 1;
  return schedules_.emplace(microbatches, ScheduleOf(plan_, microbatches, updates)).first->second;
}

MiniBatch PipelineTraining::BatchOf(int64_t step) {
  MiniBatch batch;
  batch.samples = SamplesOf(step);
  batch.update_samples = static_cast<int64_t>(loader_.Samples(step).size());
  batch.first = SplitRange(batch.update_samples, replicas_, replica_).begin;
  const bool last = pipe_->rank() == pipe_->size() - 1;
  if (pipe_->rank() != 0 && !last) return batch;
  const Batch mine = task_.BatchOf(loader_, step, replica_, replicas_);
  batch.inputs = {mine.images};
  batch.targets = mine.labels;
  return batch;
}

// What the last ranks of all replicas know, on every rank.
double PipelineTraining::Share(double loss) {
  const at::Tensor value = at::scalar_tensor(loss, at::kDouble);
  pipe_->Broadcast(value, pipe_->size() - 1);
  if (replicas_ > 1) data_->AllReduce(value);
  return value.item().toDouble();
}

std::vector<double> PipelineTraining::RunSteps() {
  std::vector<double> losses;
  const auto took = [&](const std::vector<double>& mine, size_t i) { return Share(mine.empty() ? 0 : mine[i]); };
  if (IsAsynchronous(plan_)) {
    const auto source = [&](int64_t update) {
      if (progress_) progress_->Update(update, "in flight");
      return BatchOf(first_ + update);
    };
    const auto mine = engine_->Run(ScheduleFor(plan_.micro_batches), source, plan_.micro_batches);
    for (size_t i = 0; i < static_cast<size_t>(plan_.steps); ++i) losses.push_back(took(mine, i));
    return losses;
  }
  for (int64_t done = 0; done < plan_.steps; ++done) {
    const int64_t step = first_ + done;
    const int microbatches = MicroBatchesOf(plan_, SamplesOf(step));
    // The last whole step is the one that is shown.
    if (microbatches == MicroBatchesOf(plan_, SamplesOf(first_))) stage_times_.Clear();
    const auto mine = engine_->Run(ScheduleFor(microbatches), [&](int64_t) { return BatchOf(step); });
    losses.push_back(took(mine, 0));
    if (progress_) progress_->Update(done + 1, fmt::format("loss {:.3f}", losses.back()));
  }
  return losses;
}

double PipelineTraining::TestAccuracy() {
  const int64_t n = task_.test.images.size(0);
  at::Tensor right = at::zeros({}, at::kLong);
  int chunk = 0;
  for (int64_t begin = 0; begin < n; begin += kEvaluated) {
    if (chunk++ % replicas_ != replica_) continue;
    const int64_t end = std::min(begin + kEvaluated, n);
    MiniBatch batch;
    batch.samples = end - begin;
    batch.inputs = {task_.Enlarged(task_.test.images.slice(0, begin, end))};
    const Tensors logits =
        engine_->Evaluate(batch, std::min<int>(plan_.Along("pipe"), static_cast<int>(batch.samples)));
    if (!logits.empty()) right += logits[0].argmax(1).eq(task_.test.labels.slice(0, begin, end)).sum();
  }
  pipe_->Broadcast(right, pipe_->size() - 1);
  if (replicas_ > 1) data_->AllReduce(right);
  return static_cast<double>(right.item().toLong()) / static_cast<double>(n);
}

// The plan, from the measured layers, and the run, from the clock.
void PipelineTraining::ShowRun() {
  if (replica_ != 0) return;
  const int updates = IsAsynchronous(plan_) ? static_cast<int>(std::min<int64_t>(plan_.steps, kDrawnUpdates)) : 1;
  const Schedule shown = ScheduleOf(plan_, MicroBatchesOf(plan_, SamplesOf(first_)), updates);
  const Simulation run = GatherRun(stage_times_, shown.microbatches, *pipe_);
  if (!speaks_ || run.makespan == 0) return;
  const Simulation plan = Simulate(shown, Costs());
  const char* what = updates == 1 ? "a step" : "the first updates";
  fmt::print("\n{}, {}: planned {:.1f} ms with a bubble of {:.0f} %, took {:.1f} ms with {:.0f} %\n\n", plan_.schedule,
             what, 1e3 * plan.makespan, 100 * plan.bubble, 1e3 * run.makespan, 100 * run.bubble);
  const double whole = std::max(plan.makespan, run.makespan);
  fmt::print("plan, from the layers' times alone (ms)\n{}\n", DrawTimes(shown, plan, whole));
  fmt::print("run (ms)\n{}\n", DrawTimes(shown, run, whole));
  if (!plan_.trace.empty()) {
    WriteFileSafely(plan_.trace, TraceOfPlanAndRun(shown, plan, run));
    fmt::print("plan and run: {} (ui.perfetto.dev or chrome://tracing)\n", plan_.trace);
  }
  std::fflush(stdout);
}

Figures PipelineTraining::Train() {
  Figures figures;
  figures.losses = task_.record.losses;
  if (speaks_) progress_ = std::make_unique<Progress>("training on the mesh", plan_.steps);
  const auto start = std::chrono::steady_clock::now();
  const std::vector<double> losses = RunSteps();
  figures.losses.insert(figures.losses.end(), losses.begin(), losses.end());
  figures.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  progress_.reset();
  ShowRun();
  figures.accuracy = TestAccuracy();
  if (!plan_.save.empty()) SaveCheckpoint(task_, mesh_, figures.losses, State());
  return figures;
}

}  // namespace

PipelineFigures TrainOnPipeline(const Task& task, DeviceMesh& mesh) {
  PipelineTraining training(task, mesh);
  PipelineFigures figures;
  figures.figures = training.Train();
  figures.balance = training.balance();
  return figures;
}

}  // namespace shardlab::train
