#include "pipeline_request.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include "../schedule/catalogue.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/base/suggest.hpp"
#include "shardlab/models/sequences.hpp"
#include "shardlab/pipeline/balance.hpp"
#include "shardlab/pipeline/policies.hpp"
#include "shardlab/plan/passes.hpp"
#include "shardlab/plan/traits.hpp"
#include "shardlab/plan/validate.hpp"
#include "shardlab/report/files.hpp"

namespace shardlab::train {
namespace {

Recompute ModeOf(const TrainRequest& request) {
  if (request.recompute == "always") return Recompute::kAlways;
  return request.recompute == "except_last" ? Recompute::kExceptLast : Recompute::kNever;
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

template <typename Predicate>
bool HasAction(const Schedule& schedule, Predicate is) {
  return std::any_of(schedule.ranks.begin(), schedule.ranks.end(),
                     [&](const auto& list) { return std::any_of(list.begin(), list.end(), is); });
}
bool HasKind(const Schedule& schedule, ActionKind kind) {
  return HasAction(schedule, [&](const Action& action) { return action.kind == kind; });
}

int UpdatesOf(const Schedule& table) {
  int updates = 1;
  HasAction(table, [&](const Action& action) {
    if (action.kind == ActionKind::kStep) updates = std::max(updates, action.version);
    return false;
  });
  return updates;
}

// In a table of several updates each makes a version of all its micro-batches, of which every stage computes all on one.
void RequireUpdates(const Schedule& table) {
  const int updates = UpdatesOf(table);
  const int m = table.microbatches / updates;
  if (table.microbatches % updates != 0) {
    throw ScheduleError(
        fmt::format("{} micro-batches are not {} updates of as many each", table.microbatches, updates));
  }
  std::map<std::pair<int, int>, int> versions;  // of a chunk and an update
  for (const auto& list : table.ranks) {
    std::map<int, int> latest;  // of a chunk
    for (const Action& action : list) {
      if (action.kind == ActionKind::kStep) latest[action.chunk] = action.version;
      if (!HasMicrobatch(action.kind)) continue;
      const int update = action.microbatch / m;
      if (GivesWeightGradient(action.kind) && latest[action.chunk] != update) {
        throw ScheduleError(fmt::format("{} goes into {}STEP@{}, and micro-batches {} to {} are those of update {}",
                                        ToString(action), action.chunk, latest[action.chunk] + 1, update * m,
                                        update * m + m - 1, update + 1));
      }
      if (action.kind != ActionKind::kForward) continue;
      const auto [known, is_new] = versions.emplace(std::pair{action.chunk, update}, action.version);
      if (!is_new && known->second != action.version) {
        throw ScheduleError(fmt::format("{} is on another version than its update's first micro-batch, which is on {}",
                                        ToString(action), known->second));
      }
    }
  }
}

// The first updates and micro-batches alone: what is left of a valid schedule is valid.
Schedule FirstOf(const Schedule& table, int microbatches, int updates) {
  Schedule first = table;
  first.microbatches = microbatches;
  for (auto& list : first.ranks) {
    std::vector<Action> kept;
    for (const Action& action : list) {
      if (HasMicrobatch(action.kind) ? action.microbatch < microbatches : action.version <= updates) {
        kept.push_back(action);
      } else if (!kept.empty()) {
        kept.back().opens_pair = false;  // its backward is gone
      }
    }
    list = std::move(kept);
  }
  return first;
}

void ReadTable(TrainRequest* request) {
  Schedule table = ReadScheduleFile(request->schedule, "--schedule");
  try {
    if (!HasKind(table, ActionKind::kStep)) {
      table = Flush(std::move(table));
      const bool sums = table.layout.replicas() > 1 && !HasKind(table, ActionKind::kReduceGradients);
      if (sums) table = AddGradientReduction(table);
    }
    Validate(table);
    if (!table.HasBackward()) throw ScheduleError("there is no backward in it, so that nothing is trained");
    RequireUpdates(table);
  } catch (const ScheduleError& error) {
    std::string why = error.what();
    if (why.rfind(table.name + ": ", 0) == 0) why.erase(0, table.name.size() + 2);
    throw UsageError(fmt::format("--schedule {}: {} (lab schedule --check {} shows where)", request->schedule, why,
                                 request->schedule));
  }
  const int ranks = request->Along("pipe");
  if (table.layout.ranks() != ranks) {
    throw UsageError(fmt::format("--schedule {}: its table is for {} ranks: use --mesh pipe={}", request->schedule,
                                 table.layout.ranks(), table.layout.ranks()));
  }
  request->table = std::move(table);
}

}  // namespace

void PipelineOptions::AddTo(CLI::App& app, TrainRequest* request) {
  const auto add = [&](CLI::Option* option) {
    options_.push_back(option->capture_default_str());
    return option;
  };
  add(app.add_option(
      "--schedule", request->schedule,
      fmt::format("of a pipeline: {}; or a file, as lab schedule --check reads it", fmt::join(ScheduleNames(), ", "))));
  micro_batches_ = add(app.add_option("--micro-batches", request->micro_batches, "pieces of each update's batch"));
  chunks_ = add(app.add_option("--chunks", request->chunks, "stages a rank, of interleaved"));
  add(app.add_option("--recompute", request->recompute,
                     "which micro-batches keep their input only and run forward again: always, except_last, never"));
  add(app.add_option(
      "--balance", request->balance,
      "where to cut: by time (the default) or memory, both measured, even, or layers of each stage as in 3,3,4"));
  add(app.add_option("--trace", request->trace, "a file for plan and run, for Perfetto or chrome://tracing"));
}

void PipelineOptions::Check(TrainRequest* request) const {
  if (!request->pipeline) {
    for (const CLI::Option* option : options_) {
      if (option->count() > 0) {
        throw UsageError(
            fmt::format("{} is of a pipeline: name the axis too, for example --mesh pipe=2", option->get_name()));
      }
    }
    return;
  }
  const auto names = ScheduleNames();
  const bool named = std::find(names.begin(), names.end(), request->schedule) != names.end();
  std::error_code none;
  if (!named && (request->schedule.find_first_of("./") != std::string::npos ||
                 std::filesystem::exists(request->schedule, none))) {
    ReadTable(request);
    const int m = request->table->microbatches / UpdatesOf(*request->table);
    for (const auto& [option, fits] :
         {std::pair{chunks_, false}, std::pair{micro_batches_, request->micro_batches == m}}) {
      if (option->count() == 0 || fits) continue;
      throw UsageError(fmt::format("{}: the table of {} has {} micro-batches an update on '{}': leave it out",
                                   option->get_name(), request->schedule, m, ToString(request->table->layout)));
    }
    request->micro_batches = m;
    if (IsAsynchronous(*request) && request->steps != UpdatesOf(*request->table)) {
      throw UsageError(fmt::format("--steps {}: the table of {} makes {} updates without a flush: use --steps {}",
                                   request->steps, request->schedule, UpdatesOf(*request->table),
                                   UpdatesOf(*request->table)));
    }
  } else {
    CheckNamed(request);
  }
  if (request->micro_batches < 1) {
    throw UsageError(fmt::format("--micro-batches {}: a batch is cut into at least 1", request->micro_batches));
  }
  const std::vector<std::string> modes = {"always", "except_last", "never"};
  if (std::find(modes.begin(), modes.end(), request->recompute) == modes.end()) {
    throw UsageError("--recompute: " + UnknownName("mode", request->recompute, modes));
  }
  const int replicas = request->Along("data");
  if (request->batch < replicas) {
    throw UsageError(fmt::format("--batch {}: {} replicas need an image each", request->batch, replicas));
  }
  if (IsAsynchronous(*request) && request->batch / replicas < request->micro_batches) {
    const std::string who = replicas == 1 ? "" : fmt::format(" of each of {} replicas", replicas);
    throw UsageError(fmt::format("--batch {}: each of the {} micro-batches{} needs an image: use --batch {} or more",
                                 request->batch, request->micro_batches, who,
                                 int64_t{replicas} * request->micro_batches));
  }
  if (IsAsynchronous(*request)) {
    // What a Schedule takes, in micro-batches and in forwards.
    const int64_t most = std::min(int64_t{1'000'000}, int64_t{4'000'000} / std::max(StagesOf(*request), 1));
    if (request->steps > most / request->micro_batches) {
      throw UsageError(fmt::format(
          "--steps {}: {} does not stop between updates, and its run may have at most {} micro-batches: use "
          "--steps {} and --save, and go on with --resume",
          request->steps, request->schedule, most, most / request->micro_batches));
    }
  }
  if (request->clip > 0 && IsAsynchronous(*request)) {
    throw UsageError(fmt::format(
        "--clip: {} updates without a flush, so that at no time all gradients of an update are there: leave it out",
        request->schedule));
  }
  if (request->compare && !request->resume.empty() && IsAsynchronous(*request)) {
    throw UsageError(
        fmt::format("--compare --resume: where a checkpoint is, {} empties the pipeline, so that its delays "
                    "begin anew: leave one of them out",
                    request->schedule));
  }
  try {
    const int microbatches = MicroBatchesOf(*request, request->batch / replicas);
    Validate(ScheduleOf(*request, microbatches, static_cast<int>(std::min<int64_t>(request->steps, 1 << 20))));
  } catch (const ScheduleError& error) {
    std::string why = error.what();  // which often begins with the schedule's name
    if (why.rfind(request->schedule + ": ", 0) == 0) why.erase(0, request->schedule.size() + 2);
    throw UsageError(fmt::format("--schedule {}: {}", request->schedule, why));
  }
  const int layers = LayersOf(*request);
  const int stages = StagesOf(*request);
  if (stages > layers) {
    throw UsageError(fmt::format("--mesh {}: {} has {} layer{}{}, which cannot be cut into {} stages with none empty",
                                 request->mesh, request->model, layers, layers == 1 ? "" : "s",
                                 request->Along("tensor") > 1 ? " along tensor" : "", stages));
  }
  try {
    FixedBalance(*request, layers);
  } catch (const ContractError& error) {
    throw UsageError(fmt::format("--balance: {}", error.what()));
  }
  if (!request->trace.empty()) RequireWritable(request->trace, "--trace");
}

void PipelineOptions::CheckNamed(TrainRequest* request) const {
  const ScheduleTraits& traits = [&]() -> const ScheduleTraits& {
    try {
      return TraitsOf(request->schedule);
    } catch (const UsageError& error) {
      throw UsageError(fmt::format("--schedule: {}", error.what()));
    }
  }();
  if (chunks_->count() > 0 && !traits.TakesChunks()) {
    throw UsageError(fmt::format("--chunks: {} decides by itself how many stages a rank has: {}", request->schedule,
                                 OnlyTheseTake("it", [](const ScheduleTraits& one) { return one.TakesChunks(); })));
  }
  if (traits.updates == Updates::kEachMicroBatch) {
    if (micro_batches_->count() > 0 && request->micro_batches != 1) {
      throw UsageError(
          fmt::format("--micro-batches {}: {} updates after each micro-batch, which is a whole --batch: "
                      "leave it out",
                      request->micro_batches, request->schedule));
    }
    request->micro_batches = 1;
  }
}

int LayersOf(const TrainRequest& request) {
  ModelOptions options;
  options.side = request.image;
  const LayerSequence model = MakeSequence(request.model, options);
  if (request.Along("tensor") == 1) return static_cast<int>(model.size());
  const auto count = [&](const char* kind) {
    return static_cast<int>(std::count_if(model.begin(), model.end(), [&](const LayerSpec& layer) {
      return layer.name.compare(0, std::strlen(kind), kind) == 0;
    }));
  };
  return count("conv") + (count("fc") + 1) / 2;  // dense layers come by twos
}

bool IsAsynchronous(const TrainRequest& request) {
  return request.table ? UpdatesOf(*request.table) > 1 : TraitsOf(request.schedule).IsAsynchronous();
}

bool SplitsBackward(const TrainRequest& request) {
  return request.table ? HasKind(*request.table, ActionKind::kBackwardInput)
                       : TraitsOf(request.schedule).splits_backward;
}

int StagesOf(const TrainRequest& request) {
  if (request.table) return request.table->layout.stages();
  return request.Along("pipe") * TraitsOf(request.schedule).ChunksPerRank(std::max(request.chunks, 1));
}

int MicroBatchesOf(const TrainRequest& request, int64_t samples) {
  const auto count = static_cast<int>(std::min<int64_t>(request.micro_batches, samples));
  if (request.table) return count;
  const ScheduleTraits& traits = TraitsOf(request.schedule);
  if (!traits.whole_rounds || traits.IsAsynchronous() || count == request.micro_batches) return count;
  const int ranks = request.Along("pipe");
  if (count < ranks) {
    throw UsageError(
        fmt::format("--schedule {}: a batch of {} images, as the last of an epoch, has none for "
                    "each of {} ranks: choose another --batch",
                    request.schedule, samples, ranks));
  }
  return count / ranks * ranks;
}

Schedule ScheduleOf(const TrainRequest& request, int microbatches, int updates) {
  if (request.table) {
    const int count = IsAsynchronous(request) ? updates : 1;
    Schedule schedule = FirstOf(*request.table, microbatches * count, count);
    const bool sums = request.Along("data") > 1 || request.grid.size() > 1;
    if (sums && !HasKind(schedule, ActionKind::kReduceGradients)) schedule = AddGradientReduction(schedule);
    if (request.recompute != "never") schedule = AddRecompute(schedule, ModeOf(request), microbatches);
    return schedule.HasCommunication() ? schedule : AddCommunication(schedule);
  }
  ScheduleRequest wanted;
  wanted.name = request.schedule;
  wanted.stages = request.Along("pipe");
  const ScheduleTraits& traits = TraitsOf(request.schedule);
  wanted.microbatches = traits.updates == Updates::kEachMicroBatch ? updates : microbatches;
  if (traits.TakesChunks()) wanted.chunks = request.chunks;
  if (traits.updates == Updates::kEachBatch) wanted.updates = updates;
  Schedule schedule = MakeSchedule(wanted);
  if (request.Along("data") > 1 || request.grid.size() > 1) schedule = AddGradientReduction(schedule);
  return AddCommunication(AddRecompute(schedule, ModeOf(request), microbatches));
}

std::vector<int> FixedBalance(const TrainRequest& request, int layers) {
  const int stages = StagesOf(request);
  if (request.balance.empty() || request.balance == "time" || request.balance == "memory") return {};
  if (request.balance == "even") {
    const auto sizes = SplitSizes(layers, stages);
    return {sizes.begin(), sizes.end()};
  }
  const std::vector<int> sizes = ParseBalance(request.balance);
  if (sizes.empty()) {
    throw UsageError("--balance: " + UnknownName("balance", request.balance, {"time", "memory", "even", "3,3,4"}));
  }
  RequireBalance(sizes, layers, stages);
  return sizes;
}

int VersionOf(const TrainRequest& request, int stage, int update) {
  if (request.table) {
    const Schedule& table = *request.table;
    const int first = update * request.micro_batches;
    for (const Action& action : table.ranks[static_cast<size_t>(table.layout.chunk(stage).rank)]) {
      if (action.kind == ActionKind::kForward && action.chunk == stage && action.microbatch == first) {
        return action.version;
      }
    }
  }
  return TraitsOf(request.schedule).version(request.Along("pipe"), stage, update);
}

}  // namespace shardlab::train
