#include "shardlab/tensor_parallel/column_linear.hpp"

// TASK tensor_parallel.linear: MakeColumnLinear
//
// The contract is the header above, the figure is in section 1 of the handout. Write a class that derives from
// ShardedLayer; what it stores is up to you. The factory checks the shapes and makes it. Before you write:
//
//  * Which of x, y, dx, dW, db is replicated, which sharded, which partial? Which door does that need, and where?
//  * A slice is a view. What does a parameter that is a view of the full weight keep alive?
//  * Of the two kinds of output, which one needs a door behind the layer?

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/tensor_parallel/shards.hpp"

namespace shardlab {

std::shared_ptr<ShardedLayer> MakeColumnLinear(const at::Tensor& weight_OI, const at::Tensor& bias_O,
                                               std::shared_ptr<Communicator> comm, ColumnOutput output) {
  (void)weight_OI, (void)bias_O, (void)comm, (void)output;
  throw NotImplemented("tensor_parallel.linear: MakeColumnLinear (exercises/tensor_parallel/column_linear.cpp)");
}

}  // namespace shardlab
