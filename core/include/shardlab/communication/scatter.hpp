#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "shardlab/base/contract.hpp"
#include "shardlab/comm/communicator.hpp"

namespace shardlab {

/// Deals the rows of the root's tensor out: rank r gets `rows[r]` of them, in order.
///
/// A *row* is one index of the first dimension with everything below it; the rows of a tensor of shape [5, 2, 3] are
/// five, of 2 x 3 elements each. S is the bytes of the whole tensor and T the number of ranks.
///
/// Cost: T - 1 messages, all from the root, and S bytes less the root's own part: no row travels twice. The messages do
/// not wait for each other: one round.
///
/// \param comm  point-to-point messages only; any number of ranks.
/// \param whole on the root, the tensor that is dealt out: at least one dimension, sum(rows) rows, any dtype and
///              strides. On the other ranks any tensor of the same dtype with the same dimensions behind the first: its
///              own number of rows and its values do not matter (one without rows will do). It is left as it is.
/// \param rows  how many rows each rank gets, T numbers, 0 allowed; the same on every rank.
/// \param root  a rank of `comm`, the same on every rank.
/// \returns a new contiguous tensor with this rank's rows, on the root too.
/// \throws CommError when a message fails or does not arrive in time.
SHARDLAB_CONTRACT at::Tensor Scatter(Communicator& comm, const at::Tensor& whole, const std::vector<int64_t>& rows,
                                     int root);

}  // namespace shardlab
