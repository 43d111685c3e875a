#include "shardlab/base/errors.hpp"
#include "shardlab/pipeline/policies.hpp"

// The contract is in core/include/shardlab/pipeline/policies.hpp. Layout::ChunksOf says which chunks a rank has, and
// Action::Step(chunk, version) is the optimizer's step.

namespace shardlab {

Schedule Flush(Schedule /*schedule*/) {
  throw NotImplemented("pipeline.lists: Flush (exercises/pipeline/generators_flush.cpp)");
}

}  // namespace shardlab
