#include "shardlab/tensor_parallel/fused_mlp.hpp"

// TASK tensor_parallel.fused: MakeFusedMlp
//
// Linear, ReLU, linear with ONE communication round forward and one backward.
//
//     x_BI -> [first, by columns: h_Bh] -> ReLU -> [second, by rows: partial y_BO] -> all-reduce -> + bias -> y_BO
//
// A class that derives from ShardedLayer, with the submodules `first` (column-parallel) and `second` (row-parallel).
// forward takes x [..., I], replicated, and returns y [..., O], replicated. It may help to say aloud what every rank
// holds after each arrow: the whole, a shard, or a partial sum.
//
// Cost for B rows: forward exactly one AllReduce of B*O elements; backward exactly one of B*I elements, none when x
// needs no gradient.

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/tensor_parallel/column_linear.hpp"
#include "shardlab/tensor_parallel/row_linear.hpp"

namespace shardlab {

std::shared_ptr<ShardedLayer> MakeFusedMlp(const MlpWeights& weights, std::shared_ptr<Communicator> comm) {
  (void)weights, (void)comm;
  throw NotImplemented("tensor_parallel.fused: MakeFusedMlp (exercises/tensor_parallel/fused_mlp.cpp)");
}

}  // namespace shardlab
