#include "oracle.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <torch/torch.h>

#include "kit/equal_training.hpp"
#include "kit/images.hpp"
#include "kit/parts.hpp"
#include "planned_schedule.hpp"
#include "shardlab/models/sequences.hpp"
#include "told_in_actions.hpp"

namespace shardlab::grade {

namespace {

// What the outputs would be after training by another definition.
MistakenRun::Outputs OutputsOf(const TrainingPlan& plan, const PipelineData& data, const Definition& definition) {
  const Trained wrong = TrainReference(plan, data, definition);
  MistakenRun::Outputs outputs;
  outputs["losses"] = at::tensor(wrong.losses, at::kDouble);
  for (const auto& [name, value] : wrong.parameters) outputs["param." + name] = value.detach();
  for (const auto& [name, value] : wrong.changes) outputs["change." + name] = value;
  for (const auto& [name, value] : wrong.buffers) outputs["buffer." + name] = value;
  return outputs;
}
MistakenRun Mistake(const std::string& meaning, const TrainingPlan& plan, const PipelineData& data,
                    const Definition& definition) {
  return MistakenRun(meaning, [=] { return OutputsOf(plan, data, definition); });
}

// The newest version of each stage when a micro-batch goes forward, by the lists.
Definition NewestWhenItRuns(const TrainingPlan& plan, const Schedule& schedule) {
  std::map<std::pair<int, int>, int> newest_at;  // by chunk and micro-batch
  for (const auto& list : schedule.ranks) {
    std::map<int, int> newest;
    for (const Action& action : list) {
      if (action.kind == ActionKind::kStep) newest[action.chunk] = action.version;
      if (action.kind == ActionKind::kForward) newest_at[{action.chunk, action.microbatch}] = newest[action.chunk];
    }
  }
  Definition definition;
  definition.part_version = [newest_at, m = plan.microbatches](int s, int t, int part) {
    return newest_at.at({s, t * m + part});
  };
  return definition;
}

// Other versions than those of the schedule's definition.
std::vector<MistakenRun> VersionMistakes(PlainCase& t, const TrainingPlan& plan, const PipelineData& data) {
  std::vector<MistakenRun> mistakes;
  Definition other;
  if (!plan.IsAsynchronous()) {
    other.version = [](int, int update) { return std::max(update - 1, 0); };
    return {Mistake("every update is computed on the weights before the last one", plan, data, other)};
  }
  mistakes.push_back(Mistake("no stage is behind: every update is computed on the newest weights", plan, data, other));
  mistakes.emplace_back(
      "every stage used its newest weights: a forward runs on the version that its entry names (WeightStore::At)",
      [&t, plan, data] {
        const auto schedule = AskComplete(t, plan, 0);
        return schedule ? OutputsOf(plan, data, NewestWhenItRuns(plan, *schedule)) : MistakenRun::Outputs();
      });
  for (const ScheduleTraits& traits : AllScheduleTraits()) {
    if (!traits.IsAsynchronous() || traits.name == plan.schedule) continue;
    other.version = [P = plan.ranks, version = traits.version](int s, int update) { return version(P, s, update); };
    mistakes.push_back(Mistake(fmt::format("the stages are behind as in {}", traits.name), plan, data, other));
  }
  const auto right = DefinitionOf(plan).version;
  other.version = [right](int s, int update) { return std::max(right(s, update) - 1, 0); };
  mistakes.push_back(Mistake("every stage is one version further behind than it must be", plan, data, other));
  other.version = [right](int s, int update) { return std::min(right(s, update) + 1, update); };
  mistakes.push_back(Mistake("every stage is one version ahead of the one that it must use", plan, data, other));
  return mistakes;
}

std::vector<MistakenRun> MistakesIn(PlainCase& t, const TrainingPlan& plan, const PipelineData& data) {
  std::vector<MistakenRun> mistakes;
  Definition other = DefinitionOf(plan);
  other.mistakes.equal_parts = true;
  mistakes.push_back(Mistake(EqualWeights("micro-batch"), plan, data, other));
  other = DefinitionOf(plan);
  other.mistakes.only_last_part = true;
  mistakes.push_back(Mistake(LastOverwrites("micro-batch"), plan, data, other));
  other = DefinitionOf(plan);
  other.mistakes.keeps_gradients = true;
  mistakes.push_back(Mistake(kGradientsPileUp, plan, data, other));
  for (MistakenRun& mistake : VersionMistakes(t, plan, data)) mistakes.push_back(std::move(mistake));
  return mistakes;
}

void ExpectTensors(CaseContext& t, const Run& run, const TrainingPlan& plan, const LayerSequence& model,
                   const std::string& prefix, const std::string& what,
                   const std::vector<std::pair<std::string, at::Tensor>>& expected,
                   const std::vector<MistakenRun>& mistakes, double steps) {
  const double scale = ScaleOf(expected);
  const Layout layout = plan.MakeLayout();
  for (const auto& [name, value] : expected) {
    const int rank = layout.chunk(StageOf(model, plan.balance, name)).rank;
    const std::string output = prefix + name;
    t.Expect(run.Output(rank, output).defined(),
             fmt::format("{} `{}` is not on rank {}, where its layer is", what, name, rank));
    Label label{fmt::format("{} `{}`", what, name)};
    label.hypotheses = For(output, mistakes);
    label.factors = {{"micro-batches", plan.microbatches}};
    if (value.scalar_type() == at::kLong) {
      t.ExpectEqual(run, rank, output, value, label);
    } else {
      t.ExpectClose(run, rank, output, value, label, scale, steps);
    }
  }
}

Run RunBoth(CaseContext& t, const TrainingPlan& plan, const PipelineData& data, const FaultSpec& faults,
            Trained& reference) {
  RunSpec spec = SpecOf("train", plan, data);
  spec.faults = faults;
  spec.explain_deadlock = [&](const CaseOutcome& outcome) { return DeadlockInActions(t, plan, outcome); };
  const Run run = t.Launch(spec);
  reference = TrainReference(plan, data, DefinitionOf(plan));
  return run;
}

}  // namespace

PipelineData DrawData(CaseContext& t, const TrainingPlan& plan) {
  const int64_t count = Total(plan.batches);
  if (plan.model == "probe") return {t.Normal({count, plan.width}), t.Normal({count, plan.width})};
  return {t.Normal({count, 3, plan.side, plan.side}),
          (t.Integers({count}, at::kLong) + 8) % 10};  // 0 .. 16 folded to 10 classes
}

PipelineData DrawCifar(CaseContext& t, const TrainingPlan& plan) {
  const Images images = DrawImages(t, Total(plan.batches));
  return {images.pixels.to(at::kDouble) / 64 - 2, images.labels, images.source};
}

Definition DefinitionOf(const TrainingPlan& plan) {
  const int P = plan.ranks;
  Definition definition;
  definition.version = [P, version = TraitsOf(plan.schedule).version](int s, int t) { return version(P, s, t); };
  return definition;
}

Trained TrainReference(const TrainingPlan& plan, const PipelineData& data, const Definition& definition) {
  SequenceClassifier model(plan.MakeModel());
  TrainOptions options;
  options.steps = static_cast<int64_t>(plan.batches.size());
  options.recipe = plan.MakeRecipe();
  options.slices = plan.microbatches;
  options.whole_batch_statistics = plan.deferred;
  options.mistakes = definition.mistakes;
  if (plan.model == "probe") {
    options.mean_loss = [](const at::Tensor& y, const at::Tensor& targets) { return (y - targets).square().mean(); };
  }
  if (definition.part_version) {
    options.mistakes.part_version = [&, sequence = plan.MakeModel()](const std::string& parameter, int64_t t,
                                                                     int64_t part) {
      return definition.part_version(StageOf(sequence, plan.balance, parameter), static_cast<int>(t),
                                     static_cast<int>(part));
    };
  } else if (definition.version) {
    options.version = [&, sequence = plan.MakeModel()](const std::string& parameter, int64_t t) {
      return definition.version(StageOf(sequence, plan.balance, parameter), static_cast<int>(t));
    };
  }
  Trained result;
  if (plan.evaluate > 0) {
    options.on_step = [&](int64_t t, double) {
      const torch::NoGradGuard no_grad;
      model.eval();
      result.evaluated[static_cast<int>(t)] = model.forward(data.images.narrow(0, 0, plan.evaluate));
      model.train();
    };
  }
  std::map<std::string, at::Tensor> before;
  for (const auto& item : model.named_parameters()) before[item.key()] = item.value().detach().clone();
  int64_t first = 0;
  const auto next = [&](int64_t t) {
    const int64_t samples = plan.batches[static_cast<size_t>(t)];
    const Batch batch{data.images.narrow(0, first, samples), data.labels.narrow(0, first, samples)};
    first += samples;
    return batch;
  };
  TrainResult trained = Train(model, next, options);
  result.losses = std::move(trained.losses);
  result.parameters = std::move(trained.parameters);
  result.buffers = std::move(trained.buffers);
  for (const auto& [name, value] : result.parameters) {
    result.changes.emplace_back(name, (before.at(name) - value) / plan.learning_rate);
  }
  return result;
}

TrainingPlan PlanFor(CaseContext& t, const std::string& model, const std::string& schedule, int microbatches,
                     const std::vector<int64_t>& batches, int chunks) {
  TrainingPlan plan;
  plan.model = model;
  plan.model_seed = t.seed() % 1000000;
  plan.schedule = schedule;
  plan.ranks = t.ranks();
  plan.chunks = chunks;
  plan.microbatches = microbatches;
  plan.batches = batches;
  plan.layers = std::max(4, 2 * t.ranks() * chunks);
  plan.BalanceEvenly();
  return plan;
}

RunSpec SpecOf(const std::string& body, const TrainingPlan& plan, const PipelineData& data) {
  RunSpec spec;
  spec.body = body;
  spec.params = plan;
  spec.limit_s = 40;
  const int ranks = plan.ranks;
  const Layout layout = plan.MakeLayout();
  std::vector<at::Tensor> images(static_cast<size_t>(ranks)), labels(static_cast<size_t>(ranks));
  images[static_cast<size_t>(layout.chunk(0).rank)] = data.images;
  labels[static_cast<size_t>(layout.chunk(layout.chunks() - 1).rank)] = data.labels;
  spec.inputs = {{"images", images}, {"labels", labels}};
  return spec;
}

Run ExpectTraining(CaseContext& t, TrainingPlan plan, const PipelineData& data, const FaultSpec& faults) {
  Trained reference;
  const Run run = RunBoth(t, plan, data, faults, reference);
  const auto mistakes = MistakesIn(t, plan, data);
  const LayerSequence model = plan.MakeModel();
  const Layout layout = plan.MakeLayout();
  const int last = layout.chunk(layout.chunks() - 1).rank;
  const size_t steps = reference.losses.size();

  const std::vector<double> losses =
      LossesOf(t, run, last, "losses", steps,
               fmt::format("Run must return {} loss(es) on rank {}, which has the last chunk, and returns {}", steps,
                           last, run.Output(last, "losses").defined() ? run.Output(last, "losses").numel() : 0));
  for (int rank = 0; rank < plan.ranks; ++rank) {
    for (const char* output : {"losses", "evaluated 0"}) {
      t.Expect(rank == last || !run.Output(rank, output).defined(),
               fmt::format("{} must return nothing on rank {}, which has no last chunk",
                           output == std::string("losses") ? "Run" : "Evaluate", rank));
    }
  }
  if (steps > 2) {
    t.Curve(fmt::format("{} with {} on {} rank{}, {}", plan.model, plan.schedule, plan.ranks,
                        plan.ranks == 1 ? "" : "s", data.source),
            losses, reference.losses, CurveTolerance(reference.losses));
  }
  const std::string mode = plan.recompute == "never" ? "" : ", recomputing " + plan.recompute;
  Label label{fmt::format("the curve (the losses of {} update{}{})", steps, steps == 1 ? "" : "s", mode)};
  label.hypotheses = For("losses", mistakes);
  label.factors = {{"micro-batches", plan.microbatches}};
  t.ExpectClose(run, last, "losses", at::tensor(reference.losses, at::kDouble), label, 0, static_cast<double>(steps));

  for (const auto& [k, expected] : reference.evaluated) {
    t.ExpectClose(run, last, "evaluated " + std::to_string(k), expected,
                  {fmt::format("the outputs of the evaluation after update {}", k + 1)}, 0, static_cast<double>(steps));
  }
  ExpectTensors(t, run, plan, model, "param.", "the final parameter", reference.parameters, mistakes,
                static_cast<double>(steps));
  ExpectTensors(t, run, plan, model, "buffer.", "the buffer", reference.buffers, mistakes, static_cast<double>(steps));
  return run;
}

Run ExpectGradients(CaseContext& t, TrainingPlan plan, const PipelineData& data, const FaultSpec& faults) {
  Trained reference;
  const Run run = RunBoth(t, plan, data, faults, reference);
  ExpectTensors(t, run, plan, plan.MakeModel(), "change.", "the gradient (the change by one update of SGD) of",
                reference.changes, MistakesIn(t, plan, data), 1);
  return run;
}

}  // namespace shardlab::grade
