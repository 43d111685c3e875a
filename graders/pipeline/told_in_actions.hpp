#pragma once

#include <string>

#include "shardlab/grade/referee.hpp"
#include "training_plan.hpp"

/// \file
/// What happened in an engine, in the words of its schedule: actions and entries of lists, not tags.

namespace shardlab::grade {

/// A deadlock between links: at which entry of its list each rank is, for which action it waits, and whether that is
/// still to come. The lists are those of the student's generators.
/// \returns "" where it is no such deadlock (a collective, say, or a list that is not valid).
std::string DeadlockInActions(PlainCase& t, const TrainingPlan& plan, const CaseOutcome& outcome);

}  // namespace shardlab::grade
