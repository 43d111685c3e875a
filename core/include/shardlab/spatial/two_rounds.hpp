#pragma once

#include <memory>

#include <ATen/core/Tensor.h>

#include "shardlab/base/contract.hpp"
#include "shardlab/comm/communicator.hpp"
#include "shardlab/plan/tiling.hpp"

namespace shardlab {

/// Contract: an exchange (ExchangePixels) between tiles of a grid, in two rounds without messages to diagonal neighbours: first every rank gets the missing
/// columns for the rows that it holds, then the missing rows, as wide as it is by then. Corners travel twice, with what
/// lies beside them.
///
///     round 1: from left and right            round 2: from above and below, with the new columns
///
///             +---+---------+---+                     +---+---------+---+
///             |   |  mine   |   |                     |   |         |   |
///             +---+---------+---+                     +---+---------+---+
///                                                     |   |  mine   |   |
///                                                     +---+---------+---+
///
/// \param from,to tilings of one image by one grid, of `comm.size()` tiles.
/// \throws ContractError as ExchangePixels, and when the tilings have other numbers of tiles than each other or the ranks.
/// Cost: two exchanges. With a halo of at most one tile on all sides of R x C tiles: 2 [R (C-1) + C] messages forward,
/// the same backward, where ExchangePixels has 4 (R-1)(C-1) more.
SHARDLAB_CONTRACT at::Tensor ExchangeInTwoRounds(const at::Tensor& x, const Tiling& from, const Tiling& to,
                                                 std::shared_ptr<Communicator> comm);

}  // namespace shardlab
