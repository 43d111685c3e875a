#include "shardlab/base/errors.hpp"
#include "shardlab/pipeline/policies.hpp"

// TASK pipeline.2bw: DoubleBufferWeights
//
// The contract is in shardlab/pipeline/policies.hpp. It works on the lists of your OneFOneB. See what you have made:
// ./lab schedule 2bw --stages 4 --micro-batches 4 --updates 3 --mine
//
//  * Which version do the micro-batches of update 0, 1 and 2 use?
//  * Behind which backward does a STEP stand, and which version does it make?

namespace shardlab {

Schedule DoubleBufferWeights(Schedule /*schedule*/, int /*microbatches_per_update*/) {
  throw NotImplemented("pipeline.2bw: DoubleBufferWeights (exercises/pipeline/generators_2bw.cpp)");
}

}  // namespace shardlab
