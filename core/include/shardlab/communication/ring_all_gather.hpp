#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "shardlab/base/contract.hpp"
#include "shardlab/comm/communicator.hpp"

namespace shardlab {

/// Collects every rank's rows on every rank, by passing them around a ring.
///
/// In every round each rank hands to its right neighbour, rank + 1, the part that it received in the round before, and
/// receives another one from its left neighbour. After T - 1 rounds everybody has seen every part. S is the bytes of
/// the result and T the number of ranks.
///
/// Cost: T - 1 rounds, one message a rank and round; (T - 1) * S bytes in all, S less the right neighbour's part from
/// each rank. All links of the ring are busy all the time, which is what makes it good for large tensors.
///
/// \param comm point-to-point messages only; any number of ranks.
/// \param mine this rank's rows (one index of the first dimension each): at least one dimension, `rows[comm.rank()]`
///             rows, any dtype and strides. The dtype and the dimensions behind the first are the same on every rank.
///             It is left as it is.
/// \param rows how many rows each rank has, T numbers, 0 allowed; the same on every rank.
/// \returns a new contiguous tensor with sum(rows) rows: rank 0's, then rank 1's, ...; the same on every rank.
/// \throws CommError when a message fails or does not arrive in time.
///
/// Source: P. Patarasuk, X. Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009.
SHARDLAB_CONTRACT at::Tensor RingAllGather(Communicator& comm, const at::Tensor& mine,
                                           const std::vector<int64_t>& rows);

}  // namespace shardlab
