#include "shardlab/tensor_parallel/sharded_mlp.hpp"

// TASK tensor_parallel.mlp: MakeShardedMlp
//
// Linear, ReLU, linear, split as AlexNet was. Of each layer every rank computes some of the neurons and then
// tells everybody.
//
//     x_BI --> [first: y_Bh] --> ReLU --> all-gather --> h_BH --> [second: y_Bo] --> all-gather --> y_BO
//
// A class that derives from ShardedLayer, with two submodules (register_module), `first` and `second`, both
// column-parallel. forward takes x [..., I], replicated, and returns y [..., O], replicated.
//
// Cost for B rows: forward two AllGathers, to which a rank gives B*h and B*o elements; backward two AllReduces, of B*H
// and B*I elements, only the first of them when x needs no gradient.

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/tensor_parallel/column_linear.hpp"

namespace shardlab {

std::shared_ptr<ShardedLayer> MakeShardedMlp(const MlpWeights& weights, std::shared_ptr<Communicator> comm) {
  (void)weights, (void)comm;
  throw NotImplemented("tensor_parallel.mlp: MakeShardedMlp (exercises/tensor_parallel/sharded_mlp.cpp)");
}

}  // namespace shardlab
