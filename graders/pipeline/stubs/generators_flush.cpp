#include "shardlab/base/errors.hpp"
#include "shardlab/pipeline/policies.hpp"

// TASK pipeline.lists: Flush
//
// The contract is in shardlab/pipeline/policies.hpp. Before you write:
//
//  * A rank may have several chunks (Layout::ChunksOf). In which order do they step?
//  * Action::Step(chunk, version) makes this version of the chunk's weights. Which one does the first update make?

namespace shardlab {

Schedule Flush(Schedule /*schedule*/) {
  throw NotImplemented("pipeline.lists: Flush (exercises/pipeline/generators_flush.cpp)");
}

}  // namespace shardlab
