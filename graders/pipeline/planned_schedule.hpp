#pragma once

#include <cstddef>
#include <optional>

#include "shardlab/grade/plain_referee.hpp"
#include "shardlab/plan/schedule.hpp"
#include "training_plan.hpp"

/// \file
/// The lists that the ranks of a training run work off, for the referee.

namespace shardlab::grade {

/// Asks the student's generators for what the plan runs at an update, and completes it: steps, recomputation, messages.
/// Of an asynchronous plan it is the list of all updates. Nothing where that is not possible.
std::optional<Schedule> AskComplete(PlainCase& t, const TrainingPlan& plan, size_t update);

}  // namespace shardlab::grade
