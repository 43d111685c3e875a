#include "shardlab/base/errors.hpp"
#include "shardlab/pipeline/generators.hpp"

// See what you have made: ./lab schedule interleaved --stages 2 --chunks 2 --micro-batches 4 --mine

namespace shardlab {

Schedule InterleavedOneFOneB(int /*ranks*/, int /*chunks_per_rank*/, int /*microbatches*/) {
  throw NotImplemented("pipeline.interleaved: InterleavedOneFOneB (exercises/pipeline/generators_interleaved.cpp)");
}

}  // namespace shardlab
