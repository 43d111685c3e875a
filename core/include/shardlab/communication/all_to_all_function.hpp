#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "shardlab/base/contract.hpp"
#include "shardlab/comm/communicator.hpp"

namespace shardlab {

/// The all-to-all as a node of the autograd graph, written without the bridge: a torch::autograd::Function.
///
/// Forward: the communicator's AllToAll of the input's rows, as in shardlab/communication/all_to_all.hpp. An all-to-all
/// moves elements and adds none, so its adjoint moves them back: backward is the same all-to-all of the gradient with
/// the two lists of split sizes swapped.
///
/// Backward communicates on every rank, also on one whose input needs no gradient: its peers wait for its part. So the
/// result requires a gradient on every rank.
///
/// Cost: forward and backward one AllToAll of the communicator each.
///
/// \param comm         any communicator; the graph keeps it.
/// \param input        sum(send_rows) rows (one index of the first dimension each), any floating dtype and strides. The
///                     dtype and the dimensions behind the first are the same on every rank. It is left as it is.
/// \param send_rows    how many rows go to each rank, T numbers, 0 allowed.
/// \param receive_rows how many rows come from each rank, T numbers.
/// \returns a new contiguous tensor with sum(receive_rows) rows, which requires a gradient.
/// \throws CommError when the exchange fails or does not complete in time.
SHARDLAB_CONTRACT at::Tensor DifferentiableAllToAll(std::shared_ptr<Communicator> comm, const at::Tensor& input,
                                                    const std::vector<int64_t>& send_rows,
                                                    const std::vector<int64_t>& receive_rows);

}  // namespace shardlab
