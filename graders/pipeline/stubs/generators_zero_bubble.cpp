#include "shardlab/base/errors.hpp"
#include "shardlab/pipeline/generators.hpp"

// See what you have made: ./lab schedule zb-h1 --stages 4 --micro-batches 8 --mine, and zb-h2.

namespace shardlab {

Schedule ZeroBubbleH1(int /*stages*/, int /*microbatches*/) {
  throw NotImplemented("pipeline.zero_bubble: ZeroBubbleH1 (exercises/pipeline/generators_zero_bubble.cpp)");
}

Schedule ZeroBubbleH2(int /*stages*/, int /*microbatches*/) {
  throw NotImplemented("pipeline.zero_bubble: ZeroBubbleH2 (exercises/pipeline/generators_zero_bubble.cpp)");
}

}  // namespace shardlab
