#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <torch/torch.h>

#include "engine_setup.hpp"
#include "probe.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/grade/body.hpp"
#include "shardlab/measure/memory.hpp"
#include "training_plan.hpp"

// Bodies that run an engine.

namespace shardlab::grade {

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

// A step of each schedule in "followed", once the shapes are known, with marks for what the probes compute.
SHARDLAB_BODY(order_of_a_step) {
  const TrainingPlan plan = ctx.params().get<TrainingPlan>();
  const auto engine = MakeEngine(SetupFor(plan), ctx.shared_comm());
  for (const std::string name : ctx.params().at("followed")) {
    TrainingPlan other = plan;
    other.schedule = name;
    const Schedule schedule = ScheduleOf(other, plan.microbatches, 1);
    for (const bool followed : {false, true}) {
      ctx.comm().Barrier();
      if (followed) {
        ctx.Mark("begin " + name);
        TellProbes([&](const char* what) { ctx.Mark(what); });
      }
      engine->Run(schedule, [&](int64_t) { return BatchOf(ctx, plan, 0); });
      TellProbes(nullptr);
    }
    ctx.Mark("end " + name);
  }
}

// What a step keeps alive at its peak: with 8 micro-batches, with 24, and, if these take no more, with 1000 under a cap
// of memory. Then what GPipe keeps with 64 of them.
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
    ctx.Number(name + " total", static_cast<double>(PeakBytes()));
    return memory.Bytes();
  };
  engine->Run(ScheduleOf(plan, 2, 1),
              [&](int64_t) { return batch(2); });  // momentum and the shapes are there from now on
  const int64_t few = measure(plan.schedule, 8, "few");
  const int64_t more = measure(plan.schedule, 24, "more");
  const auto room = ctx.Param<int64_t>("room");
  const at::Tensor grows = at::full({}, (more - few) * (plan.microbatches - 8) > room * 16 ? 1.0 : 0.0, at::kDouble);
  ctx.Number("grows", grows.item<double>());
  ctx.comm().AllReduce(grows);
  if (grows.item<double>() > 0) return;  // said with figures, and not where it ends
  SetMemoryCap(LiveBytes() + few + room);
  measure(plan.schedule, plan.microbatches, "many");
  SetMemoryCap(-1);
  measure("gpipe", 64, "gpipe");
}

}  // namespace shardlab::grade
