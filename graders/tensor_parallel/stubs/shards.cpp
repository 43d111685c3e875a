#include "shardlab/tensor_parallel/shards.hpp"

// TASK tensor_parallel.linear: CopyToShards, ReduceFromShards, GatherFromShards
//
// The doors of a sharded region.
//
//                        forward       backward      what it turns into what
//     CopyToShards       identity      all-reduce    replicated x -> x, of which every rank uses its own part
//     ReduceFromShards   all-reduce    identity      partial y    -> replicated y
//     GatherFromShards   all-gather    slice         sharded y    -> replicated y
//
// Each is a pair of plain functions of a tensor, of which Apply (shardlab/autograd/conjugate_op.hpp) makes a node of
// the autograd graph:
//
//     return Apply({"CopyToShards", forward, backward}, x);
//
// forward maps x to the result; backward maps the gradient of the result to the gradient of x. Inside them there is no
// autograd; use `comm`'s own collectives (shardlab/comm/communicator.hpp).
//
// To be kept:
//   - The result is a new tensor, and the input stays as it is. An all-reduce writes into its tensor, and a collective
//     wants contiguous memory. (The gradient that Apply gives backward is a contiguous copy of your own.)
//   - Sums have the same bits on every rank (Communicator::AllReduce sees to that).
//   - Shard t of n features is SplitRange(n, T, t) (shardlab/base/split.hpp): the first n % T are one longer, and some
//     may be empty. A rank with an empty shard makes the same calls.
//   - Any number of ranks, also 1.
//
// Cost: one AllReduce of the tensor's elements where the table says all-reduce, one AllGather of the shard where it
// says all-gather, and nothing where it says identity or slice.

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
