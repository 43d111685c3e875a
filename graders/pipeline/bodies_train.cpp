#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <torch/torch.h>

#include "probe.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/base/kernel_clock.hpp"
#include "shardlab/grade/body.hpp"
#include "shardlab/measure/memory.hpp"
#include "shardlab/pipeline/computation.hpp"
#include "shardlab/pipeline/deferred_statistics.hpp"
#include "shardlab/pipeline/engine.hpp"
#include "shardlab/plan/passes.hpp"
#include "training_plan.hpp"

// Bodies that run an engine.

namespace shardlab::grade {

namespace {

// Watches how many versions are held.
class CountedWeights final : public WeightStore {
 public:
  CountedWeights(std::unique_ptr<WeightStore> inner, int* most) : inner_(std::move(inner)), most_(most) {}
  StageModule& At(int version) override { return inner_->At(version); }
  int Newest() const override { return inner_->Newest(); }
  int Held() const override { return inner_->Held(); }
  std::vector<at::Tensor> Gradients() override { return inner_->Gradients(); }
  void Update(double rate) override {
    inner_->Update(rate);
    *most_ = std::max(*most_, inner_->Held());
  }
  void Release(int version) override { inner_->Release(version); }
  void Restart() override { inner_->Restart(); }

 private:
  std::unique_ptr<WeightStore> inner_;
  int* most_;
};

PipelineSetup SetupFor(const TrainingPlan& plan, int* most_versions = nullptr) {
  PipelineSetup setup{plan.MakeModel(), plan.balance, plan.MakeLayout()};
  if (plan.model == "probe") {
    setup.loss = [](const Tensors& y, const at::Tensor& targets) { return (y.at(0) - targets).square().mean(); };
  } else {
    setup.loss = [](const Tensors& y, const at::Tensor& labels) { return at::cross_entropy_loss(y.at(0), labels); };
  }
  const Recipe recipe = plan.MakeRecipe();
  setup.optimizer = [recipe](int, const std::vector<at::Tensor>& parameters) {
    return MakeOptimizer(recipe, parameters);
  };
  if (plan.halves) setup.stage = [](int) { return MakeSplitStage(); };
  if (plan.IsAsynchronous()) {
    setup.weights = [most_versions](StageFactory make, OptimizerMaker optimizer) -> std::unique_ptr<WeightStore> {
      auto weights = MakeWeightVersions(std::move(make), std::move(optimizer));
      if (most_versions == nullptr) return weights;
      return std::make_unique<CountedWeights>(std::move(weights), most_versions);
    };
  }
  setup.clip_norm = recipe.clip_norm;
  setup.learning_rate = recipe.rate_factor;
  if (plan.deferred) setup.statistics = MakeDeferredStatistics();
  return setup;
}

// What the plan runs, complete: with steps, recomputation and messages.
Schedule ScheduleOf(const TrainingPlan& plan, int microbatches, int updates) {
  Schedule schedule = ComputationOf(TraitsOf(plan.schedule), plan.ranks, plan.chunks, microbatches, updates);
  if (!plan.IsAsynchronous()) schedule = Flush(std::move(schedule));
  const shardlab::Recompute mode = plan.recompute == "always"        ? shardlab::Recompute::kAlways
                                   : plan.recompute == "except_last" ? shardlab::Recompute::kExceptLast
                                                                     : shardlab::Recompute::kNever;
  return AddCommunication(AddRecompute(schedule, mode, plan.IsAsynchronous() ? microbatches : 0));
}

// The mini-batch of an update, of what the referee gave this rank.
MiniBatch BatchOf(RankContext& ctx, const TrainingPlan& plan, size_t update) {
  int64_t begin = 0;
  for (size_t i = 0; i < update; ++i) begin += plan.batches[i];
  MiniBatch batch;
  batch.samples = plan.batches[update];
  if (ctx.HasInput("images")) batch.inputs = {ctx.Input("images").narrow(0, begin, batch.samples)};
  if (ctx.HasInput("labels")) batch.targets = ctx.Input("labels").narrow(0, begin, batch.samples);
  return batch;
}

}  // namespace

// Trains, and hands back the losses and what this rank holds of the model in the end. After one update of plain SGD the
// change of the parameters, divided by the rate, is the gradient.
SHARDLAB_BODY(train) {
  const TrainingPlan plan = ctx.params().get<TrainingPlan>();
  int versions = 1;
  PipelineSetup setup = SetupFor(plan, &versions);
  std::shared_ptr<Communicator> pipe = ctx.shared_comm();
  if (plan.norm_count > 0) {
    setup.norm_ranks = pipe;
    setup.norm_count = [plan](int, size_t parameter) { return parameter % 2 == 0 ? plan.norm_count : 1; };
    pipe = pipe->Split(ctx.rank(), 0);
  }
  const auto engine = MakeEngine(std::move(setup), pipe);
  const auto mine = plan.MakeLayout().ChunksOf(pipe->rank());
  std::vector<std::pair<std::string, at::Tensor>> before;
  for (const int chunk : mine) {
    for (const auto& [name, value] : engine->Module(chunk).NamedParameters())
      before.emplace_back(name, value.detach().clone());
  }

  std::vector<double> losses;
  ResetProbes();
  if (plan.IsAsynchronous()) {
    const Schedule schedule = ScheduleOf(plan, plan.microbatches, static_cast<int>(plan.batches.size()));
    ctx.Mark("step 0");
    losses = engine->Run(
        schedule, [&](int64_t update) { return BatchOf(ctx, plan, static_cast<size_t>(update)); }, plan.microbatches);
  } else {
    for (size_t step = 0; step < plan.batches.size(); ++step) {
      const int m = static_cast<int>(std::min<int64_t>(plan.microbatches, plan.batches[step]));
      const Schedule schedule = ScheduleOf(plan, m, 1);
      ctx.Mark("step " + std::to_string(step));
      for (const double loss : engine->Run(schedule, [&](int64_t) { return BatchOf(ctx, plan, step); }))
        losses.push_back(loss);
      if (plan.evaluate > 0) {
        ctx.Mark("evaluation " + std::to_string(step));
        MiniBatch batch = BatchOf(ctx, plan, 0);
        batch.samples = plan.evaluate;
        for (at::Tensor& x : batch.inputs) x = x.narrow(0, 0, plan.evaluate);
        const Tensors outputs = engine->Evaluate(batch, plan.microbatches);
        if (!outputs.empty()) ctx.Output("evaluated " + std::to_string(step), outputs.at(0));
      }
    }
  }
  ctx.Mark("end");
  ctx.Number("versions", versions);
  ctx.Number("forwards", static_cast<double>(Probes().forwards));
  ctx.Number("backwards", static_cast<double>(Probes().backwards));
  ctx.Number("weights", static_cast<double>(Probes().weights));
  ctx.Number("peak", static_cast<double>(Probes().peak));
  ctx.Number("live", static_cast<double>(Probes().live));
  if (!losses.empty()) ctx.Output("losses", at::tensor(losses, at::kDouble));
  size_t i = 0;
  for (const int chunk : mine) {
    for (const auto& [name, value] : engine->Module(chunk).NamedParameters()) {
      ctx.Output("param." + name, value);
      ctx.Output("change." + name, (before[i++].second - value.detach()) / plan.learning_rate);
    }
    for (const auto& [name, value] : engine->Module(chunk).NamedBuffers()) ctx.Output("buffer." + name, value);
  }
}

// How long a step of each schedule in "timed" takes: the best of three, once the shapes are known.
SHARDLAB_BODY(speed) {
  const TrainingPlan plan = ctx.params().get<TrainingPlan>();
  const auto engine = MakeEngine(SetupFor(plan), ctx.shared_comm());
  for (const std::string name : ctx.params().at("timed")) {
    TrainingPlan other = plan;
    other.schedule = name;
    const Schedule schedule = ScheduleOf(other, plan.microbatches, 1);
    double best = 1e9;
    for (int repeat = 0; repeat < 3; ++repeat) {
      ctx.comm().Barrier();
      const int64_t begin_ns = KernelNs();
      engine->Run(schedule, [&](int64_t) { return BatchOf(ctx, plan, 0); });
      best = std::min(best, static_cast<double>(KernelNs() - begin_ns) * 1e-9);
    }
    ctx.Number(name, best);
  }
}

// What a step keeps alive at its peak: with 8 micro-batches, and with 1000 under a cap of memory that 8 leave no room
// in. Then what GPipe keeps with 64 of them, without a cap.
SHARDLAB_BODY(memory) {
  const TrainingPlan plan = ctx.params().get<TrainingPlan>();
  const auto engine = MakeEngine(SetupFor(plan), ctx.shared_comm());
  const int64_t each = plan.batches[0] / plan.microbatches;  // samples of a micro-batch
  CountMemory();
  MiniBatch all = BatchOf(ctx, plan, 0);
  const auto batch = [&](int m) {
    MiniBatch part = all;
    part.samples = m * each;
    for (at::Tensor& x : part.inputs) x = x.narrow(0, 0, part.samples);
    if (part.targets.defined()) part.targets = part.targets.narrow(0, 0, part.samples);
    return part;
  };
  const auto measure = [&](const std::string& schedule, int m, const std::string& name) {
    TrainingPlan other = plan;
    other.schedule = schedule;
    const Schedule list = ScheduleOf(other, m, 1);
    ResetProbes();
    const PeakMemory memory;
    engine->Run(list, [&](int64_t) { return batch(m); });
    ctx.Number(name + " peak", static_cast<double>(Probes().peak));
    ctx.Number(name + " bytes", static_cast<double>(memory.Bytes()));
    return memory.Bytes();
  };
  engine->Run(ScheduleOf(plan, 2, 1),
              [&](int64_t) { return batch(2); });  // momentum and the shapes are there from now on
  const int64_t few = measure(plan.schedule, 8, "few");
  SetMemoryCap(LiveBytes() + few + (64 << 10));
  measure(plan.schedule, plan.microbatches, "many");
  SetMemoryCap(-1);
  measure("gpipe", 64, "gpipe");
}

}  // namespace shardlab::grade
