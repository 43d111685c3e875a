#include "shardlab/base/errors.hpp"
#include "shardlab/pipeline/generators.hpp"

// TASK pipeline.zero_bubble: ZeroBubbleH1, ZeroBubbleH2
//
// The contract is in shardlab/pipeline/generators.hpp. See what you have made: ./lab schedule zb-h1 --stages 4
// --micro-batches 8 --mine, and zb-h2.
//
//  * Which stands behind I number k on stage 0, and which on the last stage?
//  * Which W's are left over at the end?

namespace shardlab {

Schedule ZeroBubbleH1(int /*stages*/, int /*microbatches*/) {
  throw NotImplemented("pipeline.zero_bubble: ZeroBubbleH1 (exercises/pipeline/generators_zero_bubble.cpp)");
}

Schedule ZeroBubbleH2(int /*stages*/, int /*microbatches*/) {
  throw NotImplemented("pipeline.zero_bubble: ZeroBubbleH2 (exercises/pipeline/generators_zero_bubble.cpp)");
}

}  // namespace shardlab
