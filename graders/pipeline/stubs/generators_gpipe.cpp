#include "shardlab/base/errors.hpp"
#include "shardlab/pipeline/generators.hpp"

// TASK pipeline.lists: GPipe
//
// The contract is in shardlab/pipeline/generators.hpp, the figure is in section 2 of the handout. See what you have
// made: ./lab schedule gpipe --stages 4 --micro-batches 8 --mine
//
//  * With which micro-batch can the last stage begin to go back at once?

namespace shardlab {

Schedule GPipe(int /*stages*/, int /*microbatches*/) {
  throw NotImplemented("pipeline.lists: GPipe (exercises/pipeline/generators_gpipe.cpp)");
}

}  // namespace shardlab
