#include "shardlab/base/errors.hpp"
#include "shardlab/pipeline/policies.hpp"

// TASK pipeline.pipedream: StashWeights, StashWeightsVerticalSync
//
// The contract is in shardlab/pipeline/policies.hpp. They work on the lists of your OneFOneB. See what you have made:
// ./lab schedule pipedream --stages 4 --micro-batches 8 --mine, and pipedream-vsync.
//
//  * How many STEPs of its stage stand in front of forward t? Which version does it use, and which one its backward?
//  * With vertical sync, which is the newest version that the last stage has when micro-batch t sets out?

namespace shardlab {

Schedule StashWeights(Schedule /*schedule*/) {
  throw NotImplemented("pipeline.pipedream: StashWeights (exercises/pipeline/generators_pipedream.cpp)");
}

Schedule StashWeightsVerticalSync(Schedule /*schedule*/) {
  throw NotImplemented("pipeline.pipedream: StashWeightsVerticalSync (exercises/pipeline/generators_pipedream.cpp)");
}

}  // namespace shardlab
