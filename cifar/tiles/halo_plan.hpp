#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "shardlab/plan/tiling.hpp"

/// \file
/// What layers on tiles read and send, as data. No tensor is touched.

namespace shardlab::tiles {

/// One layer of a chain.
struct LayerPlan {
  ImageWindow window;
  Tiling inputs;            ///< whose pixels of its input are whose
  Tiling outputs;           ///< the same of its output
  Tiling reads;             ///< the pixels that each rank needs, within the image
  std::vector<Move> moves;  ///< what travels, an exchange a layer

  /// Pixels of a channel that travel between ranks.
  int64_t PixelsSent() const;
};

/// Layers one after the other.
struct ChainPlan {
  Grid grid;
  std::vector<LayerPlan> layers;
  /// With one exchange in front of all layers (a fused halo): the pixels that each rank needs, and what travels.
  Tiling fused_reads;
  std::vector<Move> fused_moves;
  /// Outputs of a channel that are computed more than once then, of all layers together.
  int64_t redundant = 0;
};

/// "7,2,3" or "7x1,2x1,3x0": kernel, stride, padding, and dilation where there is a fourth; of rows and columns.
/// \throws ContractError in one line for anything else.
ImageWindow ParseWindow(const std::string& text);

/// "56x56": height and width. \throws ContractError in one line for anything else.
void ParseImage(const std::string& text, int64_t* height, int64_t* width);

/// Works out the chain.
/// \throws ContractError for a grid that does not fit, or a window that is larger than its image.
ChainPlan PlanChain(int64_t height, int64_t width, const Grid& grid, const std::vector<ImageWindow>& windows);

/// As a table for a terminal.
std::string TextOf(const ChainPlan& plan);

/// As a picture: the image with its tiles, and for each rank what its first layer's outputs read, its neighbours' pixels
/// marked with their owner; outside of the image the padding.
std::string SvgOf(const ChainPlan& plan);

}  // namespace shardlab::tiles
