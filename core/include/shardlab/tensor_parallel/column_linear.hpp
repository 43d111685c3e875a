#pragma once

#include <memory>

#include "shardlab/base/contract.hpp"
#include "shardlab/comm/communicator.hpp"
#include "shardlab/tensor_parallel/sharded_layer.hpp"

namespace shardlab {

/// What a column-parallel layer hands on.
enum class ColumnOutput {
  kShard,  ///< y_Bo: this rank's output features
  kWhole   ///< y_BO on every rank, gathered
};

/// A linear layer y = x W^T + b of which every rank computes some of the output features ("neurons").
///
///     W [O, I], T = 2:   rank 0   w_oI  ######   rows 0 .. o-1         y_Bo = x_BI w_oI^T + b_o
///                        rank 1   w_oI  ######   the rows behind them
///
/// (It is called column-parallel after W^T, which the input is multiplied with: its columns are split.)
///
/// Parameters: `weight` w_oI = rows SplitRange(O, T, rank) of W, and `bias` b_o, the same slice of b; no `bias` when b
/// is undefined.
/// forward: x [..., I], replicated, to y [..., o], sharded, or [..., O], replicated, as `output` says.
/// Backward: the gradient of x is that of one process, on every rank.
///
/// Cost for B rows: forward none; kWhole: one AllGather, to which every rank gives B*o elements. Backward one AllReduce
/// of B*I elements; none when x needs no gradient.
///
/// \param weight_OI the full weight, the same on every rank.
/// \param bias_O the full bias, or an undefined tensor for none.
/// \throws ContractError unless weight_OI has two dimensions and bias_O is undefined or [O].
///
/// Source: Megatron-LM, arXiv 1909.08053, section 3; Krizhevsky et al., "AlexNet", 2012, section 3.2, for the idea.
SHARDLAB_CONTRACT std::shared_ptr<ShardedLayer> MakeColumnLinear(const at::Tensor& weight_OI, const at::Tensor& bias_O,
                                                                 std::shared_ptr<Communicator> comm,
                                                                 ColumnOutput output = ColumnOutput::kShard);

}  // namespace shardlab
