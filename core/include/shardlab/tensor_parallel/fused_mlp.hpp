#pragma once

#include <memory>

#include "shardlab/base/contract.hpp"
#include "shardlab/comm/communicator.hpp"
#include "shardlab/tensor_parallel/sharded_layer.hpp"
#include "shardlab/tensor_parallel/sharded_mlp.hpp"

namespace shardlab {

/// linear, ReLU, linear with ONE communication round forward and one backward, where MakeShardedMlp needs two and two.
///
/// ReLU works on each feature by itself, so it needs no neighbour: what the column-parallel first layer leaves on a
/// rank is, after ReLU, exactly what a row-parallel second layer wants there.
///
///     x_BI -> [first, by columns: h_Bh] -> ReLU -> [second, by rows: partial y_BO] -> all-reduce -> + bias -> y_BO
///
/// Parameters: `first.weight` and `first.bias` sharded as those of MakeColumnLinear; `second.weight` sharded and
/// `second.bias` replicated as those of MakeRowLinear.
/// forward: x [..., I], replicated, to y [..., O], replicated.
///
/// Cost for B rows: forward exactly one AllReduce of B*O elements; backward exactly one of B*I elements, none when x
/// needs no gradient. It does not depend on H.
///
/// \throws ContractError for weights and biases whose shapes do not fit together.
///
/// Source: Megatron-LM, arXiv 1909.08053, figure 3a.
SHARDLAB_CONTRACT std::shared_ptr<ShardedLayer> MakeFusedMlp(const MlpWeights& weights,
                                                             std::shared_ptr<Communicator> comm);

}  // namespace shardlab
