#include "shardlab/tensor_parallel/shards.hpp"

#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "shardlab/base/split.hpp"

// Autograd sees a copy, whose gradient is the identity; what travels does so behind its back.

namespace shardlab {

at::Tensor CopyToShards(const at::Tensor& x, std::shared_ptr<Communicator> comm) {
  at::Tensor y = x.clone();
  if (y.requires_grad()) {
    y.register_hook([comm = std::move(comm)](const at::Tensor& dy) {
      at::Tensor sum = dy.detach().clone(at::MemoryFormat::Contiguous);
      comm->AllReduce(sum);
      return sum;
    });
  }
  return y;
}

at::Tensor ReduceFromShards(const at::Tensor& y, std::shared_ptr<Communicator> comm) {
  at::Tensor total = y.clone(at::MemoryFormat::Contiguous);
  comm->AllReduce(total.detach());
  return total;
}

at::Tensor GatherFromShards(const at::Tensor& y_shard, int64_t dim, int64_t size, std::shared_ptr<Communicator> comm) {
  if (dim < 0) dim += y_shard.dim();
  std::vector<at::Tensor> shards;
  for (const int64_t length : SplitSizes(size, comm->size())) {
    std::vector<int64_t> shape = y_shard.sizes().vec();
    shape[static_cast<size_t>(dim)] = length;
    shards.push_back(y_shard.new_empty(shape));
  }
  comm->AllGather(shards, y_shard.detach().contiguous());
  shards[static_cast<size_t>(comm->rank())] = y_shard;  // the only one with a history; cat's backward is the slice
  return at::cat(shards, dim);
}

}  // namespace shardlab
