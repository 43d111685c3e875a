#pragma once

#include <string>

#include "shardlab/plan/schedule.hpp"
#include "shardlab/plan/validate.hpp"

namespace shardlab {

/// Runs a schedule with a thread a rank, knowing nothing of Dependencies, Validate or Simulate.
///
/// Every rank has a memory of its own; it fails on the spot when something that should be in that memory is not, and
/// waits for what should come from others. When all threads wait, that is a deadlock: seen at once, without any time
/// limit, since who waits changes nothing.
/// \return why the run failed ("deadlock", or something else); empty when all lists came to their end and nothing was left
/// undone.
std::string RunWithThreads(const Schedule& schedule, const RunRules& rules);

}  // namespace shardlab
