#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "shardlab/base/contract.hpp"
#include "shardlab/comm/communicator.hpp"

namespace shardlab {

/// Collects every rank's rows on the root, in the order of the ranks: Scatter run backwards.
///
/// S is the bytes of the whole tensor and T the number of ranks.
///
/// Cost: T - 1 messages, all to the root, and S bytes less the root's own part: no row travels twice. The messages do
/// not wait for each other: one round.
///
/// \param comm point-to-point messages only; any number of ranks.
/// \param mine this rank's rows: at least one dimension, `rows[comm.rank()]` rows, any dtype and strides. The dtype and
///             the dimensions behind the first are the same on every rank. It is left as it is.
/// \param rows how many rows each rank has, T numbers, 0 allowed; the same on every rank.
/// \param root a rank of `comm`, the same on every rank.
/// \returns on the root a new contiguous tensor with sum(rows) rows; on the others an undefined tensor.
/// \throws CommError when a message fails or does not arrive in time.
SHARDLAB_CONTRACT at::Tensor Gather(Communicator& comm, const at::Tensor& mine, const std::vector<int64_t>& rows,
                                    int root);

}  // namespace shardlab
