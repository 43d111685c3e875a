#pragma once

#include <memory>

#include "shardlab/base/contract.hpp"
#include "shardlab/comm/communicator.hpp"
#include "shardlab/tensor_parallel/sharded_layer.hpp"

namespace shardlab {

/// RMSNorm over D features of which every rank holds some: LayerNorm without the mean.
///
///     y = x / sqrt((1/D) sum x^2 + eps) * gamma         the sum over ALL features of a row
///
/// Parameter: `weight` gamma_d, the slice SplitRange(D, T, rank) of the full one.
/// forward: x [..., d] to y [..., d], both sharded.
///
/// Cost for B rows: one collective of one number a row forward, B elements; one AllReduce of B elements backward, none
/// when x needs no gradient.
///
/// \param gamma_D the full scale, the same on every rank; D >= 1.
/// \param eps is added to the mean square.
/// \throws ContractError unless gamma_D has one dimension and one element or more.
///
/// Source: Zhang, Sennrich, "Root mean square layer normalization", arXiv 1910.07467.
SHARDLAB_CONTRACT std::shared_ptr<ShardedLayer> MakeShardedRmsNorm(const at::Tensor& gamma_D, double eps,
                                                                   std::shared_ptr<Communicator> comm);

}  // namespace shardlab
