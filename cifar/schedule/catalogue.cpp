#include "catalogue.hpp"

#include <cstdint>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/pipeline/computation.hpp"

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

}  // namespace shardlab
