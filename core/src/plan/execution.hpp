#pragma once

#include <string>
#include <vector>

#include "shardlab/plan/schedule.hpp"
#include "shardlab/plan/schedule_error.hpp"
#include "shardlab/plan/simulate.hpp"
#include "shardlab/plan/validate.hpp"

namespace shardlab {

/// A rank that cannot go on.
struct Blocked {
  enum class Reason { kDependency, kSendWindow, kCollective };
  int rank = 0;
  int step = 0;
  Reason reason = Reason::kDependency;
  /// What has to happen first: one of these (a computation or a send; the receive to be posted; the collective).
  std::vector<Action> any_of;
};

/// How far the lists run.
struct Execution {
  std::vector<std::vector<Span>> ranks;
  std::vector<MessageSpan> messages;
  /// The ranks that did not come to their end; empty when all did.
  std::vector<Blocked> blocked;
};

/// Runs all lists by the rules, with a clock a rank. `schedule` has passed the static checks of Validate.
/// \param record whether spans and messages are wanted, or only who is blocked
Execution Execute(const Schedule& schedule, const CostModel& costs, const RunRules& rules, bool record);

/// Validate, and the run that it takes to find a deadlock, on the clock of `costs`.
Execution ValidateAndExecute(const Schedule& schedule, const CostModel& costs, const RunRules& rules, bool record,
                             Footprint& footprint);

}  // namespace shardlab
