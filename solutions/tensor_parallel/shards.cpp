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
// An all-reduce works in place, and neither an input nor an incoming gradient is ours to change (autograd hands one
// gradient to several branches, and expands a single number to a whole tensor): it works on a fresh contiguous copy.

namespace shardlab {
namespace {

at::Tensor SumOverRanks(const at::Tensor& partial, Communicator& comm) {
  const at::Tensor sum = partial.clone(at::MemoryFormat::Contiguous);
  comm.AllReduce(sum);
  return sum;
}

at::Tensor Copy(const at::Tensor& tensor) { return tensor.clone(at::MemoryFormat::Contiguous); }

}  // namespace

at::Tensor CopyToShards(const at::Tensor& x, std::shared_ptr<Communicator> comm) {
  return Apply({"CopyToShards", Copy,                                               // (1)
                [comm](const at::Tensor& dx) { return SumOverRanks(dx, *comm); }},  // (2)
               x);
}

at::Tensor ReduceFromShards(const at::Tensor& y, std::shared_ptr<Communicator> comm) {
  return Apply({"ReduceFromShards", [comm](const at::Tensor& partial) { return SumOverRanks(partial, *comm); },  // (3)
                Copy},                                                                                           // (4)
               y);
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
    return Copy(dy.narrow(dim, mine.begin, mine.size()));
  };
  return Apply({"GatherFromShards", gather, slice}, y_shard);
}

}  // namespace shardlab
