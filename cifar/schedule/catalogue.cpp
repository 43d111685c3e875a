#include "catalogue.hpp"

#include <cstdint>
#include <filesystem>
#include <limits>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/pipeline/computation.hpp"
#include "shardlab/plan/text.hpp"
#include "shardlab/report/files.hpp"

namespace shardlab {

Schedule MakeSchedule(const ScheduleRequest& request) {
  const ScheduleTraits& traits = TraitsOf(request.name);
  const bool runs_on = traits.updates == Updates::kEachBatch;
  if (request.chunks && !traits.TakesChunks()) {
    throw UsageError(
        fmt::format("{} decides by itself how many chunks a rank has: {}", request.name,
                    OnlyTheseTake("--chunks", [](const ScheduleTraits& one) { return one.TakesChunks(); })));
  }
  if (request.updates && !runs_on) {
    throw UsageError(fmt::format(
        "{} does not run on from update to update: {}", request.name,
        OnlyTheseTake("--updates", [](const ScheduleTraits& one) { return one.updates == Updates::kEachBatch; })));
  }
  if (request.stages < 1) throw UsageError(fmt::format("a pipeline needs at least 1 stage, not {}", request.stages));
  if (request.microbatches < 1) {
    throw UsageError(fmt::format("a mini-batch is cut into at least 1 micro-batch, not {}", request.microbatches));
  }

  int microbatches = request.microbatches;
  int updates = 1;
  if (traits.updates == Updates::kEachMicroBatch) std::swap(microbatches, updates);
  if (runs_on) {
    updates = request.updates.value_or(3);
    if (updates < 1) throw UsageError(fmt::format("{}: a run has at least 1 update, not {}", request.name, updates));
    if (microbatches > std::numeric_limits<int>::max() / updates) {
      throw UsageError(
          fmt::format("{}: {} updates of {} micro-batches are too many", request.name, updates, microbatches));
    }
    // Said of an update, not of the run, whose micro-batches the generator is asked for.
    if (traits.whole_rounds && microbatches % request.stages != 0) {
      throw UsageError(fmt::format(
          "{}: {} micro-batches an update on {} ranks: they must be a multiple of the ranks, such as {}", request.name,
          microbatches, request.stages, (int64_t{microbatches} / request.stages + 1) * request.stages));
    }
  }
  Schedule schedule = ComputationOf(traits, request.stages, request.chunks.value_or(2), microbatches, updates);
  return traits.IsAsynchronous() ? schedule : Flush(std::move(schedule));
}

Schedule ReadScheduleFile(const std::string& path, const std::string& option, std::string* skipped) {
  // A device gives as much as is read of it, and a file of gigabytes is no schedule.
  constexpr std::uintmax_t kMostBytes = std::uintmax_t{256} << 20;
  std::error_code error;  // what cannot be asked cannot be read either, and is told there
  if (std::filesystem::is_character_file(path, error)) {
    throw UsageError(fmt::format("{} {}: this is a device: name a file", option, path));
  }
  if (std::filesystem::is_regular_file(path, error) && std::filesystem::file_size(path, error) > kMostBytes) {
    throw UsageError(fmt::format("{} {}: a file of more than {} MiB is no schedule", option, path, kMostBytes >> 20));
  }
  const std::string text = [&] {
    try {
      return ReadFile(path);
    } catch (const EnvironmentError& problem) {
      throw UsageError(fmt::format("{}: {}", option, problem.what()));
    }
  }();
  const std::string file = path.substr(path.find_last_of('/') + 1);
  try {
    return ReadSchedule(text, file, skipped);
  } catch (const ScheduleError& problem) {
    const std::string why = problem.what();
    if (why.rfind(file + ": ", 0) == 0) throw UsageError(why);
    throw UsageError(fmt::format("{}: {}", path, why));
  }
}

}  // namespace shardlab
