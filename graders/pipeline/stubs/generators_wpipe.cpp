#include "shardlab/base/errors.hpp"
#include "shardlab/pipeline/generators.hpp"
#include "shardlab/pipeline/policies.hpp"

// See what you have made: ./lab schedule wpipe --stages 4 --micro-batches 4 --updates 3 --mine

namespace shardlab {

Schedule WPipe(int /*ranks*/, int /*microbatches*/) {
  throw NotImplemented("pipeline.wpipe: WPipe (exercises/pipeline/generators_wpipe.cpp)");
}

Schedule GroupWeights(Schedule /*schedule*/, int /*microbatches_per_update*/) {
  throw NotImplemented("pipeline.wpipe: GroupWeights (exercises/pipeline/generators_wpipe.cpp)");
}

}  // namespace shardlab
