#pragma once

#include <ATen/core/Tensor.h>

#include "shardlab/base/contract.hpp"
#include "shardlab/comm/communicator.hpp"

namespace shardlab {

/// Adds the tensors of all ranks up and leaves every rank with its own share of the sum's rows.
///
/// The rows (one index of the first dimension each) are divided into T parts by SplitSizes. Part c starts on rank
/// c + 1, travels around the ring, and every rank that it passes adds its own part c, until it arrives, complete, on
/// rank c. S is the bytes of one rank's input and T the number of ranks.
///
/// Cost: T - 1 rounds, one message a rank and round; (T - 1) * S bytes in all, S less its own part from each rank.
///
/// \param comm  point-to-point messages only; any number of ranks.
/// \param input this rank's summand: at least one dimension, any number of rows (also fewer than ranks, also none), any
///              strides, any dtype that can be added. Shape and dtype are the same on every rank. It is left as it is.
/// \returns a new contiguous tensor: of the sum over all ranks the rows SplitRange(input.size(0), T, comm.rank()).
/// \throws CommError when a message fails or does not arrive in time.
///
/// Source: P. Patarasuk, X. Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009.
SHARDLAB_CONTRACT at::Tensor RingReduceScatter(Communicator& comm, const at::Tensor& input);

}  // namespace shardlab
