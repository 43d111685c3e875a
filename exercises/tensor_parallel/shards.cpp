#include "shardlab/tensor_parallel/shards.hpp"

// TASK tensor_parallel.linear: CopyToShards, ReduceFromShards, GatherFromShards
//
// The contract is the header above, the figure and the table are in section 1 of the handout. Each is a pair of
// functions, of which Apply (shardlab/autograd/conjugate_op.hpp) makes a node of the graph:
//
//     return Apply({"CopyToShards", forward, backward}, x);
//
// Before you write:
//
//  * What does each door make of its tensor: replicated, sharded or partial? And of the gradient?
//  * The result is a new tensor, and an all-reduce writes into the one that it is given. Which do you give it?
//  * A collective wants contiguous memory. Is a slice along the last dimension contiguous?
//  * A rank's shard may be empty. Does it call the collective?

#include <ATen/ATen.h>

#include "shardlab/autograd/conjugate_op.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"

namespace shardlab {

at::Tensor CopyToShards(const at::Tensor& x, std::shared_ptr<Communicator> comm) {
  (void)x, (void)comm;
  throw NotImplemented("tensor_parallel.linear: CopyToShards (exercises/tensor_parallel/shards.cpp)");
}

at::Tensor ReduceFromShards(const at::Tensor& y, std::shared_ptr<Communicator> comm) {
  (void)y, (void)comm;
  throw NotImplemented("tensor_parallel.linear: ReduceFromShards (exercises/tensor_parallel/shards.cpp)");
}

at::Tensor GatherFromShards(const at::Tensor& y_shard, int64_t dim, int64_t size, std::shared_ptr<Communicator> comm) {
  (void)y_shard, (void)dim, (void)size, (void)comm;
  throw NotImplemented("tensor_parallel.linear: GatherFromShards (exercises/tensor_parallel/shards.cpp)");
}

}  // namespace shardlab
