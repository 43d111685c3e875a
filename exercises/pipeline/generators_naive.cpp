#include "shardlab/base/errors.hpp"
#include "shardlab/pipeline/generators.hpp"

// TASK pipeline.lists: Naive
//
// The contract is in shardlab/pipeline/generators.hpp, the figure is in section 2 of the handout. A schedule is filled
// like this:
//
//     Schedule schedule("naive", Layout::Linear(stages), microbatches);
//     schedule.ranks[0].push_back(Action::Forward(/*chunk=*/0, /*microbatch=*/0));
//     schedule.ranks[0].push_back(Action::Backward(0, 0));
//
// See what you have made: ./lab schedule naive --stages 3 --micro-batches 2 --mine
//
//  * A list says in which order, and not when. What makes rank 1 wait?

namespace shardlab {

Schedule Naive(int /*stages*/, int /*microbatches*/) {
  throw NotImplemented("pipeline.lists: Naive (exercises/pipeline/generators_naive.cpp)");
}

}  // namespace shardlab
