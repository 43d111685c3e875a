#include "shardlab/base/errors.hpp"
#include "shardlab/pipeline/policies.hpp"

// Needs OneFOneB. See what you have made: ./lab schedule 2bw --stages 4 --micro-batches 4 --updates 3 --mine

namespace shardlab {

Schedule DoubleBufferWeights(Schedule /*schedule*/, int /*microbatches_per_update*/) {
  throw NotImplemented("pipeline.2bw: DoubleBufferWeights (exercises/pipeline/generators_2bw.cpp)");
}

}  // namespace shardlab
