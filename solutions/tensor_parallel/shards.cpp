#include "shardlab/tensor_parallel/shards.hpp"

#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "shardlab/autograd/conjugate_op.hpp"
#include "shardlab/base/split.hpp"

// Each door is a pair of plain functions; Apply makes a node of the autograd graph of it. Drawn for two ranks:
//
//                                    region
//             replicated  |  every rank its own part  |  replicated
//                         |                           |
//     forward   x ------(1)-----> x  ... y_0 --------(3)-----> y_0 + y_1
//                         |                           |
//     backward  dx_0 + dx_1 <--(2)-- dx_0 ... dy <---(4)------ dy
//
//   (1) The identity, (4) the identity, (2) and (3) the all-reduce: the backward of one door is the forward of the
//   other.
//
// An all-reduce writes into its tensor, and an input is not ours to change: (3) works on a copy. So does (1), because a
// result is never the input itself. What backward gets is a copy already, made by the bridge: autograd hands one
// gradient to several branches, and expands a single number to a whole tensor.

namespace shardlab {

at::Tensor CopyToShards(const at::Tensor& x, std::shared_ptr<Communicator> comm) {
  const auto copy = [](const at::Tensor& x) { return x.clone(); };  // (1)
  const auto sum = [comm](const at::Tensor& dx) {                   // (2)
    comm->AllReduce(dx);
    return dx;
  };
  return Apply({"CopyToShards", copy, sum}, x);
}

at::Tensor ReduceFromShards(const at::Tensor& y, std::shared_ptr<Communicator> comm) {
  const auto sum = [comm](const at::Tensor& partial) {  // (3)
    const at::Tensor total = partial.clone(at::MemoryFormat::Contiguous);
    comm->AllReduce(total);
    return total;
  };
  const auto copy = [](const at::Tensor& dy) { return dy; };  // (4)
  return Apply({"ReduceFromShards", sum, copy}, y);
}

at::Tensor GatherFromShards(const at::Tensor& y_shard, int64_t dim, int64_t size, std::shared_ptr<Communicator> comm) {
  const auto gather = [=](const at::Tensor& mine) {
    std::vector<at::Tensor> shards;
    std::vector<int64_t> shape = mine.sizes().vec();
    for (int rank = 0; rank < comm->size(); ++rank) {
      shape[static_cast<size_t>(dim < 0 ? dim + mine.dim() : dim)] = SplitRange(size, comm->size(), rank).size();
      shards.push_back(at::empty(shape, mine.options()));
    }
    comm->AllGather(shards, mine.contiguous());
    return at::cat(shards, dim);
  };
  // What follows is computed by every rank alike: ONE loss, of which everybody knows the whole gradient already.
  const auto slice = [=](const at::Tensor& dy) {
    const Range mine = SplitRange(size, comm->size(), comm->rank());
    return dy.narrow(dim, mine.begin, mine.size());
  };
  return Apply({"GatherFromShards", gather, slice}, y_shard);
}

}  // namespace shardlab
