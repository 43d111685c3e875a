#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "shardlab/base/contract.hpp"
#include "shardlab/comm/communicator.hpp"

namespace shardlab {

/// Every rank sends some of its rows to every other rank, as a transposition of a matrix of parts does.
///
/// Rank r's input lies as T parts one behind the other: the first `send_rows[0]` rows are for rank 0, the next
/// `send_rows[1]` for rank 1, and so on. Its result lies likewise: first what came from rank 0. The part for itself
/// stays where it is. S is the bytes of a rank's input and T the number of ranks.
///
/// Cost: one round, at most T - 1 messages from each rank, and S bytes less the part that stays there. A part without
/// rows may be sent as an empty message or not at all.
///
/// \param comm         point-to-point messages only; any number of ranks.
/// \param input        sum(send_rows) rows (one index of the first dimension each), any dtype and strides. The dtype
///                     and the dimensions behind the first are the same on every rank. It is left as it is.
/// \param send_rows    how many rows go to each rank, T numbers, 0 allowed.
/// \param receive_rows how many rows come from each rank, T numbers: rank a's `receive_rows[b]` is rank b's
///                     `send_rows[a]`.
/// \returns a new contiguous tensor with sum(receive_rows) rows.
/// \throws ContractError, before anything is sent, unless there are T numbers of each kind, none is negative, and
///         `send_rows` sum to the input's rows.
/// \throws CommError when a message fails or does not arrive in time.
SHARDLAB_CONTRACT at::Tensor AllToAll(Communicator& comm, const at::Tensor& input,
                                      const std::vector<int64_t>& send_rows, const std::vector<int64_t>& receive_rows);

}  // namespace shardlab
