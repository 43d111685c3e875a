#pragma once

#include <memory>
#include <vector>

#include "shardlab/base/contract.hpp"
#include "shardlab/pipeline/link.hpp"
#include "shardlab/pipeline/positions.hpp"

namespace shardlab {

/// Contract: where images stop being cut. The first rank behind the tiles has a link to each of them; this makes one link of
/// them, which gives whole images:
///
///     tile 0  ---\                            Take             the tiles' tensors, put together by their boxes
///     tile 1  ----+-->  [ join ]  -->  stage  SendGradients    to each tile the gradient of its pixels
///     tile 2  ---/
///
/// A tensor that is whole on all tiles' ranks (no rows in its tiling) is the first one's; its gradient goes back to the first
/// one alone, and to the others goes 0, since theirs were not used.
///
/// The result needs a gradient where the tiles' tensors do. It is the later end of a link: Send, PostGradients and
/// TakeGradients throw ContractError.
///
/// \param tiles the links to the tiles' ranks, in their order.
/// \param tilings of the tensors that travel, in their order.
/// \throws ContractError when there is no link, or a tiling has another number of tiles than there are links; Take when the
/// tiles send another number of tensors than there are tilings, or one has not its tile's sizes.
/// Cost: one message a tile and tensor forward, and as many back; what every link has besides.
SHARDLAB_CONTRACT std::unique_ptr<Link> MakeJoin(std::vector<std::unique_ptr<Link>> tiles,
                                                 const BoundaryTilings& tilings);

}  // namespace shardlab
