#pragma once

#include <memory>

#include "shardlab/base/contract.hpp"
#include "shardlab/comm/communicator.hpp"
#include "shardlab/layers/tiled_image.hpp"

namespace shardlab {

/// Contract: the operations of this module, as one table. With it any model that is a LayerSequence runs on tiles
/// (SpatialSequence in shardlab/layers/tiled_image.hpp).
///
///     Outputs         OutputsOf, along each side         AveragePool2d   TiledAveragePool2d
///     Conv2d          TiledConv2d                        Moments         TiledMoments
///     MaxPool2d       TiledMaxPool2d                     SumOfPixels     TiledSum
///     Retile          ExchangePixels
///
/// \param comm the ranks of the tiles, in their order.
SHARDLAB_CONTRACT std::shared_ptr<TileOps> MakeTileOps(std::shared_ptr<Communicator> comm);

}  // namespace shardlab
