#include "shardlab/base/errors.hpp"
#include "shardlab/pipeline/policies.hpp"

// Needs OneFOneB. See what you have made: ./lab schedule pipedream --stages 4 --micro-batches 8 --mine, and
// pipedream-vsync.

namespace shardlab {

Schedule StashWeights(Schedule /*schedule*/) {
  throw NotImplemented("pipeline.pipedream: StashWeights (exercises/pipeline/generators_pipedream.cpp)");
}

Schedule StashWeightsVerticalSync(Schedule /*schedule*/) {
  throw NotImplemented("pipeline.pipedream: StashWeightsVerticalSync (exercises/pipeline/generators_pipedream.cpp)");
}

}  // namespace shardlab
