#include "shardlab/spatial/conv.hpp"

#include <ATen/ATen.h>

#include "shardlab/spatial/tile_window.hpp"

// A convolution on tiles
// ======================
//     1  the halo        pixels held  --ExchangePixels-->  pixels that the outputs read
//     2  the padding     only where the image ends
//     3  the arithmetic  LibTorch's convolution without any padding: on a tile that has all it reads there is nothing
//                        special about a border
//
// The backward needs no thought: each of the three is differentiable, and 1 brings the gradients of the halo home. What
// is a sum over outputs, the gradient of the weight, is a sum over this rank's outputs; the ranks' sums are added up
// where all gradients are, after the backward.

namespace shardlab {

at::Tensor TiledConv2d(const TiledImage& x, const at::Tensor& weight, const at::Tensor& bias, const ImageWindow& window,
                       int64_t groups, const Tiling& outputs, std::shared_ptr<Communicator> comm) {
  const int64_t height = x.tiling.height(), width = x.tiling.width();
  const Box mine = outputs.TileOf(comm->rank());
  const TiledImage wide = WithHalo(x, InputsOfTiles(window, outputs, height, width), comm);  // 1
  const at::Tensor read =
      WithPadding(wide.values, wide.held.TileOf(comm->rank()), height, width, window, mine, /*padding=*/0);  // 2
  if (mine.empty() || read.size(0) == 0) {
    // LibTorch convolves no empty image. The result hangs in the graph all the same: this rank's backward has to take
    // part in the exchange.
    const at::Tensor nothing = at::zeros({read.size(0), weight.size(0), mine.ranges[0].size(), mine.ranges[1].size()},
                                         read.options().requires_grad(false));
    const at::Tensor zero = (wide.values.sum() + weight.sum()) * 0;
    return nothing + (bias.defined() ? zero + bias.sum() * 0 : zero);
  }
  return at::conv2d(read, weight, bias, {window.rows.stride, window.columns.stride}, at::IntArrayRef{0, 0},
                    {window.rows.dilation, window.columns.dilation}, groups);  // 3
}

}  // namespace shardlab
