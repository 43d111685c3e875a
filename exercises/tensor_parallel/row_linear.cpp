#include "shardlab/tensor_parallel/row_linear.hpp"

// TASK tensor_parallel.linear: MakeRowLinear
//
// A linear layer of which every rank uses some of the input features.
//
//     W [O, I], T = 2:   ###|###    rank 0 has the left columns, rank 1 the right ones
//                        ###|###
//
//     y_BO = sum over ranks of x_Bi w_Oi^T, and then b, ONCE
//
//   1. A class that derives from ShardedLayer, as in column_linear.cpp. It registers `weight`, columns
//      SplitRange(I, T, rank) of the full weight, and `bias`, the WHOLE bias, unless that is undefined.
//   2. forward takes x [..., i], this rank's features, and returns y [..., O], the same bits on every rank.
//   3. The gradient of x_Bi is the slice of that of one process. The bias is replicated, and so is its gradient.
//
// Cost for B rows: forward one AllReduce of B*O elements; backward none.

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
