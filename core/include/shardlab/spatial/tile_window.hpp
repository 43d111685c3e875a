#pragma once

#include <memory>

#include <ATen/core/Tensor.h>

#include "shardlab/base/contract.hpp"
#include "shardlab/comm/communicator.hpp"
#include "shardlab/layers/tiled_image.hpp"
#include "shardlab/plan/tiling.hpp"

/// \file
/// Contracts: what a window reads on a tile.

namespace shardlab {

/// The image with the pixels that the ranks need: `x` itself where every rank has them, else exchanged
/// (ExchangePixels), and then `held` is `needed`. What is missing on any rank is known to all, since all know all boxes;
/// so all decide alike.
SHARDLAB_CONTRACT TiledImage WithHalo(const TiledImage& x, const Tiling& needed, std::shared_ptr<Communicator> comm);

/// All that a window reads for some outputs, padding included: so the window then moves over it without any padding of
/// its own.
///
///     outputs 0:3 of a kernel of 3, padding 1, at the image's left end:
///
///     . 0 1 2 3        "." is `padding`: there is no pixel -1, and the tile's right neighbour has more, so there is none there
///
/// \param x [B, C, h, w]: the pixels `held`.
/// \param held,outputs boxes of two dimensions, of x and of the outputs. `held` has every pixel of the image that they need.
/// \param padding what stands for what lies outside of the image.
/// \returns [B, C, InputsOf(window.rows, ...).size(), InputsOf(window.columns, ...).size()]; it may be a view of x.
/// \throws ContractError when `held` lacks a pixel that lies in the image.
SHARDLAB_CONTRACT at::Tensor WithPadding(const at::Tensor& x, const Box& held, int64_t height, int64_t width,
                                         const ImageWindow& window, const Box& outputs, double padding);

}  // namespace shardlab
