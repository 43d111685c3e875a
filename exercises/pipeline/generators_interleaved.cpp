#include "shardlab/base/errors.hpp"
#include "shardlab/pipeline/generators.hpp"

// TASK pipeline.interleaved: InterleavedOneFOneB
//
// The contract is in shardlab/pipeline/generators.hpp. See what you have made: ./lab schedule interleaved --stages 2
// --chunks 2 --micro-batches 4 --mine
//
//  * Number a rank's forwards 0 .. mv-1. Which chunk and which micro-batch is number k? And of the backwards?
//  * Which numbers must be refused?

namespace shardlab {

Schedule InterleavedOneFOneB(int /*ranks*/, int /*chunks_per_rank*/, int /*microbatches*/) {
  throw NotImplemented("pipeline.interleaved: InterleavedOneFOneB (exercises/pipeline/generators_interleaved.cpp)");
}

}  // namespace shardlab
