#pragma once

#include <cstdint>
#include <memory>

#include <ATen/core/Tensor.h>

#include "shardlab/base/contract.hpp"
#include "shardlab/comm/communicator.hpp"
#include "shardlab/layers/tiled_image.hpp"

/// \file
/// Contracts: poolings of an image whose pixels lie on several ranks. As TiledConv2d they exchange what a rank lacks, and
/// have the values and gradients of LibTorch's on the whole image.

namespace shardlab {

/// at::max_pool2d. Outside of the image nothing is larger than anything: a padding of 0 would win over negative pixels.
/// Cost: as TiledConv2d.
SHARDLAB_CONTRACT at::Tensor TiledMaxPool2d(const TiledImage& x, const ImageWindow& window, const Tiling& outputs,
                                            std::shared_ptr<Communicator> comm);

/// at::avg_pool2d. The sum of a window is divided by
///
///     divisor                                            where it is not 0
///     the pixels of the window, those of the image       count_include_pad false
///     the same, and those of the padding                 count_include_pad true; never what lies behind the padding,
///                                                        where a window of ceil_mode reaches
///
/// so windows at the border of the image are divided by less than others, and windows at the border of a tile are not.
/// \param window its dilation is 1.
/// \throws ContractError for a dilation, or a divisor below 0.
/// Cost: as TiledConv2d.
SHARDLAB_CONTRACT at::Tensor TiledAveragePool2d(const TiledImage& x, const ImageWindow& window, bool count_include_pad,
                                                int64_t divisor, const Tiling& outputs,
                                                std::shared_ptr<Communicator> comm);

}  // namespace shardlab
