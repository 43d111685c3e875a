#include "pipeline_plan.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include "../schedule/catalogue.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/base/suggest.hpp"
#include "shardlab/models/sequences.hpp"
#include "shardlab/pipeline/balance.hpp"
#include "shardlab/plan/passes.hpp"
#include "shardlab/plan/traits.hpp"
#include "shardlab/plan/validate.hpp"
#include "shardlab/report/files.hpp"

namespace shardlab::train {
namespace {

Recompute ModeOf(const Plan& plan) {
  if (plan.recompute == "always") return Recompute::kAlways;
  return plan.recompute == "except_last" ? Recompute::kExceptLast : Recompute::kNever;
}

// "3,3,4"; empty for anything else.
std::vector<int> ParseBalance(const std::string& text) {
  std::vector<int> sizes;
  const char* at = text.c_str();
  while (true) {
    char* end = nullptr;
    const long size = std::strtol(at, &end, 10);
    if (end == at || size < -1000000 || size > 1000000) return {};
    sizes.push_back(static_cast<int>(size));
    if (*end == '\0') return sizes;
    if (*end != ',') return {};
    at = end + 1;
  }
}

}  // namespace

void PipelineOptions::AddTo(CLI::App& app, Plan* plan) {
  const auto add = [&](CLI::Option* option) {
    options_.push_back(option->capture_default_str());
    return option;
  };
  add(app.add_option("--schedule", plan->schedule, fmt::format("of a pipeline: {}", fmt::join(ScheduleNames(), ", "))));
  micro_batches_ = add(app.add_option("--micro-batches", plan->micro_batches, "pieces of each update's batch"));
  chunks_ = add(app.add_option("--chunks", plan->chunks, "stages a rank, of interleaved"));
  add(app.add_option("--recompute", plan->recompute,
                     "which micro-batches keep their input only and run forward again: always, except_last, never"));
  add(app.add_option(
      "--balance", plan->balance,
      "where to cut: by time (the default) or memory, both measured, even, or layers of each stage as in 3,3,4"));
  add(app.add_option("--trace", plan->trace, "a file for plan and run, for Perfetto or chrome://tracing"));
}

void PipelineOptions::Check(Plan* plan) const {
  if (!plan->pipeline) {
    for (const CLI::Option* option : options_) {
      if (option->count() > 0) {
        throw UsageError(
            fmt::format("{} is of a pipeline: name the axis too, for example --mesh pipe=2", option->get_name()));
      }
    }
    return;
  }
  const ScheduleTraits& traits = [&]() -> const ScheduleTraits& {
    try {
      return TraitsOf(plan->schedule);
    } catch (const UsageError& error) {
      throw UsageError(fmt::format("--schedule: {}", error.what()));
    }
  }();
  if (chunks_->count() > 0 && !traits.TakesChunks()) {
    throw UsageError(fmt::format("--chunks: {} decides by itself how many stages a rank has: {}", plan->schedule,
                                 OnlyTheseTake("it", [](const ScheduleTraits& one) { return one.TakesChunks(); })));
  }
  if (traits.updates == Updates::kEachMicroBatch) {
    if (micro_batches_->count() > 0 && plan->micro_batches != 1) {
      throw UsageError(
          fmt::format("--micro-batches {}: {} updates after each micro-batch, which is a whole --batch: "
                      "leave it out",
                      plan->micro_batches, plan->schedule));
    }
    plan->micro_batches = 1;
  }
  if (plan->micro_batches < 1) {
    throw UsageError(fmt::format("--micro-batches {}: a batch is cut into at least 1", plan->micro_batches));
  }
  const std::vector<std::string> modes = {"always", "except_last", "never"};
  if (std::find(modes.begin(), modes.end(), plan->recompute) == modes.end()) {
    throw UsageError("--recompute: " + UnknownName("mode", plan->recompute, modes));
  }
  const int replicas = plan->Along("data");
  if (plan->batch < replicas) {
    throw UsageError(fmt::format("--batch {}: {} replicas need an image each", plan->batch, replicas));
  }
  if (IsAsynchronous(*plan) && plan->batch / replicas < plan->micro_batches) {
    const std::string who = replicas == 1 ? "" : fmt::format(" of each of {} replicas", replicas);
    throw UsageError(fmt::format("--batch {}: each of the {} micro-batches{} needs an image: use --batch {} or more",
                                 plan->batch, plan->micro_batches, who, int64_t{replicas} * plan->micro_batches));
  }
  if (IsAsynchronous(*plan)) {
    // What a Schedule takes, in micro-batches and in forwards.
    const int64_t most = std::min(int64_t{1'000'000}, int64_t{4'000'000} / std::max(StagesOf(*plan), 1));
    if (plan->steps > most / plan->micro_batches) {
      throw UsageError(fmt::format(
          "--steps {}: {} does not stop between updates, and its run may have at most {} micro-batches: use "
          "--steps {} and --save, and go on with --resume",
          plan->steps, plan->schedule, most, most / plan->micro_batches));
    }
  }
  if (plan->clip > 0 && IsAsynchronous(*plan)) {
    throw UsageError(fmt::format(
        "--clip: {} updates without a flush, so that at no time all gradients of an update are there: leave it out",
        plan->schedule));
  }
  if (plan->compare && !plan->resume.empty() && IsAsynchronous(*plan)) {
    throw UsageError(
        fmt::format("--compare --resume: where a checkpoint is, {} empties the pipeline, so that its delays "
                    "begin anew: leave one of them out",
                    plan->schedule));
  }
  try {
    const int microbatches = MicroBatchesOf(*plan, plan->batch / replicas);
    Validate(ScheduleOf(*plan, microbatches, static_cast<int>(std::min<int64_t>(plan->steps, 1 << 20))));
  } catch (const ScheduleError& error) {
    std::string why = error.what();  // which often begins with the schedule's name
    if (why.rfind(plan->schedule + ": ", 0) == 0) why.erase(0, plan->schedule.size() + 2);
    throw UsageError(fmt::format("--schedule {}: {}", plan->schedule, why));
  }
  const int layers = LayersOf(*plan);
  const int stages = StagesOf(*plan);
  if (stages > layers) {
    throw UsageError(fmt::format("--mesh {}: {} has {} layer{}{}, which cannot be cut into {} stages with none empty",
                                 plan->mesh, plan->model, layers, layers == 1 ? "" : "s",
                                 plan->Along("tensor") > 1 ? " along tensor" : "", stages));
  }
  try {
    FixedBalance(*plan, layers);
  } catch (const ContractError& error) {
    throw UsageError(fmt::format("--balance: {}", error.what()));
  }
  if (!plan->trace.empty()) RequireWritable(plan->trace, "--trace");
}

int LayersOf(const Plan& plan) {
  ModelOptions options;
  options.side = plan.image;
  const LayerSequence model = MakeSequence(plan.model, options);
  if (plan.Along("tensor") == 1) return static_cast<int>(model.size());
  const auto count = [&](const char* kind) {
    return static_cast<int>(std::count_if(model.begin(), model.end(), [&](const LayerSpec& layer) {
      return layer.name.compare(0, std::strlen(kind), kind) == 0;
    }));
  };
  return count("conv") + (count("fc") + 1) / 2;  // dense layers come by twos
}

bool IsAsynchronous(const Plan& plan) { return TraitsOf(plan.schedule).IsAsynchronous(); }

int StagesOf(const Plan& plan) {
  return plan.Along("pipe") * TraitsOf(plan.schedule).ChunksPerRank(std::max(plan.chunks, 1));
}

int MicroBatchesOf(const Plan& plan, int64_t samples) {
  const auto count = static_cast<int>(std::min<int64_t>(plan.micro_batches, samples));
  const ScheduleTraits& traits = TraitsOf(plan.schedule);
  if (!traits.whole_rounds || traits.IsAsynchronous() || count == plan.micro_batches) return count;
  const int ranks = plan.Along("pipe");
  if (count < ranks) {
    throw UsageError(
        fmt::format("--schedule {}: a batch of {} images, as the last of an epoch, has none for "
                    "each of {} ranks: choose another --batch",
                    plan.schedule, samples, ranks));
  }
  return count / ranks * ranks;
}

Schedule ScheduleOf(const Plan& plan, int microbatches, int updates) {
  ScheduleRequest request;
  request.name = plan.schedule;
  request.stages = plan.Along("pipe");
  const ScheduleTraits& traits = TraitsOf(plan.schedule);
  request.microbatches = traits.updates == Updates::kEachMicroBatch ? updates : microbatches;
  if (traits.TakesChunks()) request.chunks = plan.chunks;
  if (traits.updates == Updates::kEachBatch) request.updates = updates;
  Schedule schedule = MakeSchedule(request);
  if (plan.Along("data") > 1) schedule = AddGradientReduction(schedule);
  return AddCommunication(AddRecompute(schedule, ModeOf(plan), microbatches));
}

std::vector<int> FixedBalance(const Plan& plan, int layers) {
  const int stages = StagesOf(plan);
  if (plan.balance.empty() || plan.balance == "time" || plan.balance == "memory") return {};
  if (plan.balance == "even") {
    const auto sizes = SplitSizes(layers, stages);
    return {sizes.begin(), sizes.end()};
  }
  const std::vector<int> sizes = ParseBalance(plan.balance);
  if (sizes.empty()) {
    throw UsageError("--balance: " + UnknownName("balance", plan.balance, {"time", "memory", "even", "3,3,4"}));
  }
  RequireBalance(sizes, layers, stages);
  return sizes;
}

int VersionOf(const Plan& plan, int stage, int update) {
  return TraitsOf(plan.schedule).version(plan.Along("pipe"), stage, update);
}

}  // namespace shardlab::train
