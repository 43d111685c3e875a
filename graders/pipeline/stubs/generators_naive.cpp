#include "shardlab/base/errors.hpp"
#include "shardlab/pipeline/generators.hpp"

// The contract, with its figures, is in core/include/shardlab/pipeline/generators.hpp. A schedule is filled like this:
//
//     Schedule schedule("naive", Layout::Linear(stages), microbatches);
//     schedule.ranks[0].push_back(Action::Forward(/*chunk=*/0, /*microbatch=*/0));
//     schedule.ranks[0].push_back(Action::Backward(0, 0));
//
// See what you have made: ./lab schedule naive --stages 3 --micro-batches 2 --mine

namespace shardlab {

Schedule Naive(int /*stages*/, int /*microbatches*/) {
  throw NotImplemented("pipeline.lists: Naive (exercises/pipeline/generators_naive.cpp)");
}

}  // namespace shardlab
