#include "shardlab/pipeline/skips.hpp"

// TASK pipeline.skips: CheckSkips, SkipRoutes
//
// A layer stashes a tensor under a name, a later layer pops it. Between stages it travels directly.
//
//     stage 0 ------> stage 1 ------> stage 2
//        \________________________________/       {"encoder1", from 0, to 2}
//
// CheckSkips finds what is wrong with the names before anything runs, and says of whom: popped and never stashed,
// popped before it is stashed, popped twice, stashed twice, never popped. A layer pops before it stashes.
//
// SkipRoutes lists the skips whose ends are in different stages, in the order in which they are stashed.
//
// Your engine then makes a link for each route, of its own channel. A StageModule takes skips behind its other inputs
// (skips_in) and returns them behind its other outputs (skips_out).
//
// The contract: shardlab/pipeline/skips.hpp.

#include "shardlab/base/errors.hpp"

namespace shardlab {

void CheckSkips(const LayerSequence& model) {
  (void)model;
  throw NotImplemented("pipeline.skips: CheckSkips (exercises/pipeline/skips.cpp)");
}

std::vector<SkipRoute> SkipRoutes(const LayerSequence& model, const std::vector<int>& balance) {
  (void)model, (void)balance;
  throw NotImplemented("pipeline.skips: SkipRoutes (exercises/pipeline/skips.cpp)");
}

}  // namespace shardlab
