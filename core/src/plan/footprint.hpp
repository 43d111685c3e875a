#pragma once

#include "shardlab/plan/schedule.hpp"
#include "shardlab/plan/validate.hpp"

namespace shardlab {

/// What the lists of a valid schedule make ranks keep.
Footprint MeasureFootprint(const Schedule& schedule);

}  // namespace shardlab
