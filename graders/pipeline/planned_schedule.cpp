#include "planned_schedule.hpp"

#include <algorithm>

#include "schedule_checks.hpp"
#include "shardlab/plan/passes.hpp"
#include "shardlab/plan/schedule_error.hpp"
#include "shardlab/plan/text.hpp"

namespace shardlab::grade {

std::optional<Schedule> AskComplete(PlainCase& t, const TrainingPlan& plan, size_t update) {
  const bool runs_on = plan.IsAsynchronous();
  if (!runs_on && update >= plan.batches.size()) return std::nullopt;
  AskedSchedule asked{plan.schedule, plan.ranks, plan.microbatches, plan.chunks, 1, !runs_on};
  if (runs_on) {
    asked.updates = static_cast<int>(plan.batches.size());
  } else {
    asked.microbatches = static_cast<int>(std::min<int64_t>(plan.microbatches, plan.batches[update]));
  }
  try {
    return plan.Complete(ParseSchedule(AskSchedules(t, {asked})[0]), asked.microbatches);
  } catch (const ScheduleError&) {
    return std::nullopt;
  }
}

}  // namespace shardlab::grade
