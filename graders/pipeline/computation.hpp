#pragma once

#include <string>

#include "shardlab/plan/schedule.hpp"

namespace shardlab::grade {

/// The student's computation of `name`: generators and policies, no messages, no steps where there is a flush.
/// \param microbatches of an update.
/// \param updates of a run; 1 where there is a flush.
Schedule ComputationOf(const std::string& name, int ranks, int chunks, int microbatches, int updates);

}  // namespace shardlab::grade
