#pragma once

#include <memory>

#include "shardlab/base/contract.hpp"
#include "shardlab/comm/communicator.hpp"
#include "shardlab/tensor_parallel/sharded_layer.hpp"

namespace shardlab {

/// A linear layer y = x W^T + b of which every rank uses some of the input features.
///
///     W [O, I], T = 2:   ###|###    rank 0 has the left columns, rank 1 the right ones
///                        ###|###
///
///     y_BO = sum over ranks of x_Bi w_Oi^T, and then b, ONCE
///
/// Parameters: `weight` w_Oi = columns SplitRange(I, T, rank) of W, and `bias` b_O, the whole of it, replicated; no
/// `bias` when b is undefined. forward: x [..., i], sharded, to y [..., O], replicated. Backward: the gradient of x_Bi
/// is the slice of that of one process; that of the bias is the whole.
///
/// Cost for B rows: forward one AllReduce of B*O elements; backward none.
///
/// \param weight_OI the full weight, the same on every rank.
/// \param bias_O the full bias, or an undefined tensor for none.
/// \throws ContractError unless weight_OI has two dimensions and bias_O is undefined or [O].
///
/// Source: Megatron-LM, arXiv 1909.08053, section 3.
SHARDLAB_CONTRACT std::shared_ptr<ShardedLayer> MakeRowLinear(const at::Tensor& weight_OI, const at::Tensor& bias_O,
                                                              std::shared_ptr<Communicator> comm);

}  // namespace shardlab
