#pragma once

#include "shardlab/pipeline/schedule.hpp"
#include "shardlab/pipeline/validate.hpp"

namespace shardlab {

/// What the lists of a valid schedule make ranks keep.
Footprint MeasureFootprint(const Schedule& schedule);

}  // namespace shardlab
