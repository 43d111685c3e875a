#include "shardlab/base/errors.hpp"
#include "shardlab/pipeline/generators.hpp"

// TASK pipeline.1f1b: OneFOneB
//
// The contract is in shardlab/pipeline/generators.hpp, the figure is in section 7 of the handout. See what you have
// made, and how little it keeps: ./lab schedule 1f1b --stages 4 --micro-batches 8 --mine
//
//  * What is the last stage's list? How many forwards must another stage have done before a gradient can come back to
//    it?
//  * What if there are fewer micro-batches than that?

namespace shardlab {

Schedule OneFOneB(int /*stages*/, int /*microbatches*/) {
  throw NotImplemented("pipeline.1f1b: OneFOneB (exercises/pipeline/generators_1f1b.cpp)");
}

}  // namespace shardlab
