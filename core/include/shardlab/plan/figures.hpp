#pragma once

#include <string>

#include "shardlab/plan/schedule.hpp"
#include "shardlab/plan/traits.hpp"

namespace shardlab {

/// Whether a valid schedule is the one that its name promises: whoever writes a generator can get a list that runs and
/// is another schedule.
///
/// Compared are the figures of the literature, where they hold for these sizes, for a forward that takes 1 and a backward
/// that takes 2 (half of it for each gradient): makespan and what each rank keeps alive; and the order in which the
/// micro-batches go through each chunk.
///
/// \param traits of the name that it was generated under
/// \param schedule its computation: no recomputation, all micro-batches of all updates
/// \returns empty, or what is different: "it takes 36, and 1f1b takes 33"
std::string DifferenceFromItsName(const ScheduleTraits& traits, const Schedule& schedule);

}  // namespace shardlab
