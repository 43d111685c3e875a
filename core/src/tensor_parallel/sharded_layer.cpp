#include "shardlab/tensor_parallel/sharded_layer.hpp"

namespace shardlab {

// Here, so that the class's tables are in one shared object and not in every module's.
ShardedLayer::~ShardedLayer() = default;

}  // namespace shardlab
