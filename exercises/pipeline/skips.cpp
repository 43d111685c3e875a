#include "shardlab/pipeline/skips.hpp"

// TASK pipeline.skips: CheckSkips, SkipRoutes
//
// The contract is the header above, the figure is in section 13 of the handout. A StageModule takes skips behind its
// other inputs (skips_in) and returns them behind its other outputs (skips_out). Before you write:
//
//  * In which ways can a name be wrong? Which of them do you see only at the end of the model?
//  * A layer may stash and pop. Which does it do first?
//  * Which skips need no route?

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
