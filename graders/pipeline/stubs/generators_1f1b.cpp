#include "shardlab/base/errors.hpp"
#include "shardlab/pipeline/generators.hpp"

// See what you have made, and how little it keeps: ./lab schedule 1f1b --stages 4 --micro-batches 8 --mine

namespace shardlab {

Schedule OneFOneB(int /*stages*/, int /*microbatches*/) {
  throw NotImplemented("pipeline.1f1b: OneFOneB (exercises/pipeline/generators_1f1b.cpp)");
}

}  // namespace shardlab
