#pragma once

#include <string>

#include "shardlab/plan/schedule.hpp"
#include "shardlab/plan/simulate.hpp"

/// \file
/// A plan and a run of a pipeline, one like the other.

namespace shardlab::train {

/// A plan and a run in one file for Perfetto or chrome://tracing, one below the other. Times in seconds.
std::string TraceOfPlanAndRun(const Schedule& schedule, const Simulation& plan, const Simulation& run);

/// A plan or a run with times in seconds, for this terminal, in milliseconds.
/// \param whole the time that takes all of the width, in seconds.
std::string DrawTimes(const Schedule& schedule, Simulation simulation, double whole);

}  // namespace shardlab::train
