#include "shardlab/tensor_parallel/row_linear.hpp"

// TASK tensor_parallel.linear: MakeRowLinear
//
// The contract is the header above, the figure is in section 1 of the handout. Before you write:
//
//  * Which of x, y, dx, dW, db is replicated, which sharded, which partial? Which door does that need, and where?
//  * On which side of the sum is the bias added, and what happens on the other side?
//  * Why is the gradient of the bias the same on every rank, without a message?

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/tensor_parallel/shards.hpp"

namespace shardlab {

std::shared_ptr<ShardedLayer> MakeRowLinear(const at::Tensor& weight_OI, const at::Tensor& bias_O,
                                            std::shared_ptr<Communicator> comm) {
  (void)weight_OI, (void)bias_O, (void)comm;
  throw NotImplemented("tensor_parallel.linear: MakeRowLinear (exercises/tensor_parallel/row_linear.cpp)");
}

}  // namespace shardlab
