#pragma once

#include <cstdint>
#include <vector>

#include "shardlab/base/contract.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/plan/tiling.hpp"

/// \file
/// Contracts: which outputs of a convolution or pooling belong to a tile, and which inputs they need. Mostly along
/// one side of the image; the two sides do not know of each other. With a kernel of 3, padding 1 and two tiles:
///
///     inputs     . 0  1  2  3 | 4  5  6  7 .        . is padding
///                  |________|   |________|
///     outputs      0  1  2  3 | 4  5  6  7
///
///     outputs 0:4 need the inputs -1:5: padding at -1, and 4, which the other tile has: the halo

namespace shardlab {

/// How many outputs there are for `inputs` pixels: floor((inputs + 2 padding - dilation (kernel - 1) - 1) / stride) + 1,
/// or ceil in ceil_mode. There a last window that would begin in the padding behind the image does not count.
/// \throws ContractError when the window is larger than the image with its padding, so that there would be none.
/// Source: LibTorch's own (pooling_output_shape); the results are the same.
SHARDLAB_CONTRACT int64_t OutputSize(const SlidingWindow& window, int64_t inputs);

/// The inputs that some outputs read: from the first one's first to the last one's last. It can begin below 0 and end
/// behind the image: what lies outside is padding.
/// \param outputs none: the result has none either (begin == end).
SHARDLAB_CONTRACT Range InputsOf(const SlidingWindow& window, Range outputs);

/// The outputs of each tile: output o belongs to the tile that has the input o * stride. The last tile has all behind it
/// as well. So every output belongs to one tile, tiles stay in order, and a tile's outputs lie where its inputs do.
/// \param tiles the inputs of each, in order, from 0 to the image's end, without gaps; some may be empty.
/// \returns as many ranges as tiles; together they are 0 to OutputSize.
/// \throws ContractError as OutputSize does.
SHARDLAB_CONTRACT std::vector<Range> OutputsOf(const SlidingWindow& window, const std::vector<Range>& tiles);

/// The pixels that each rank needs to compute `outputs`: InputsOf along each side, within the image. What lies outside of it
/// nobody has; it is padding.
/// \param outputs a range may be empty: its rank needs nothing (a range that begins and ends at one pixel of the image).
/// \param height,width of the image that the window moves over.
SHARDLAB_CONTRACT Tiling InputsOfTiles(const ImageWindow& window, const Tiling& outputs, int64_t height, int64_t width);

/// Pixels that a tile needs of its neighbours.
struct Halo {
  int64_t before = 0;  ///< on the left, or above
  int64_t behind = 0;  ///< on the right, or below

  /// Equal halos are as wide on both sides.
  friend bool operator==(const Halo& a, const Halo& b) { return a.before == b.before && a.behind == b.behind; }
};

/// How wide the halo is that a chain of layers needs, one after the other without another exchange between, for a tile
/// in the middle of the image that begins and ends at a multiple of all strides together. With J the product of the
/// strides of the layers in front:
///
///     before  sum of padding * J                 behind  sum of (dilation (kernel - 1) + 1 - stride - padding) * J
///
/// none of them below 0: a tile that needs less than it has needs no halo.
/// \param chain the first layer first; none: no halo.
SHARDLAB_CONTRACT Halo HaloOf(const std::vector<SlidingWindow>& chain);

}  // namespace shardlab
