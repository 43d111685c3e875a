#include "shardlab/tensor_parallel/column_linear.hpp"

// TASK tensor_parallel.linear: MakeColumnLinear
//
// A linear layer of which every rank computes some of the output features.
//
//     W [O, I], T = 2:   rank 0   w_oI  ######   rows 0 .. o-1         y_Bo = x_BI w_oI^T + b_o
//                        rank 1   w_oI  ######   the rows behind them
//
//   1. Write a class that derives from ShardedLayer (shardlab/tensor_parallel/sharded_layer.hpp says what all layers
//      keep to). It is yours: what it stores is up to you.
//   2. Its constructor keeps the communicator and registers `weight`, rows SplitRange(O, T, rank) of the full weight,
//   and
//      `bias`, the same slice of the full bias, unless that is undefined. Keep a detached copy, not a view:
//      register_parameter("weight", ....detach().....clone()).
//   3. forward takes x [..., I], the same on every rank, and returns y [..., o], or y [..., O] gathered when asked
//      (ColumnOutput::kWhole). The gradient of x is that of one process, on every rank. Use your doors from shards.cpp.
//   4. The factory checks the shapes (ContractError) and makes it.
//
// Cost for B rows: forward none, kWhole one AllGather of the shard; backward one AllReduce of B*I elements, none when x
// needs no gradient.

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
