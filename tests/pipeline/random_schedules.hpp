#pragma once

#include <random>

#include "shardlab/plan/schedule.hpp"

namespace shardlab {

using Random = std::mt19937;

/// A whole number from `from` to `to`.
int Pick(Random& random, int from, int to);
/// True in so many cases of a hundred.
bool Chance(Random& random, int percent);

/// A valid schedule of computation only, on a random layout: any order in which one machine could do everything, dealt
/// out to the ranks, is a schedule without deadlock.
Schedule RandomOrder(Random& random);

/// A valid schedule, perhaps with steps, weight versions, reductions, recomputation and messages.
Schedule RandomSchedule(Random& random);

/// Changes one thing, which may break the schedule or not.
void Mutate(Schedule& schedule, Random& random);

}  // namespace shardlab
