#include "shardlab/base/errors.hpp"
#include "shardlab/pipeline/generators.hpp"
#include "shardlab/pipeline/policies.hpp"

// TASK pipeline.wpipe: WPipe, GroupWeights
//
// The contracts are in shardlab/pipeline/generators.hpp and shardlab/pipeline/policies.hpp. See what you have made:
// ./lab schedule wpipe --stages 4 --micro-batches 4 --updates 3 --mine
//
//  * Number a rank's forwards. Which chunk and which micro-batch is number k? And of the backwards?
//  * Which versions do the chunks of group 0 use in update t, and which those of group 1? Why can group 1 do so?

namespace shardlab {

Schedule WPipe(int /*ranks*/, int /*microbatches*/) {
  throw NotImplemented("pipeline.wpipe: WPipe (exercises/pipeline/generators_wpipe.cpp)");
}

Schedule GroupWeights(Schedule /*schedule*/, int /*microbatches_per_update*/) {
  throw NotImplemented("pipeline.wpipe: GroupWeights (exercises/pipeline/generators_wpipe.cpp)");
}

}  // namespace shardlab
