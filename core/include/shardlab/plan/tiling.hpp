#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "shardlab/base/split.hpp"
#include "shardlab/plan/box.hpp"

/// \file
/// An image cut into tiles: which rows and columns of pixels each rank holds.
///
///     grid 2x3 on an image of 5 x 8          ranks         tiling
///
///          0:3   3:6   6:8
///        +-----+-----+----+
///     0:3|     |     |    |                  0  1  2       rows     0:3, 3:5
///        +-----+-----+----+                  3  4  5       columns  0:3, 3:6, 6:8
///     3:5|     |     |    |
///        +-----+-----+----+

namespace shardlab {

/// How many tiles there are along each side of an image.
struct Grid {
  int rows = 1;     ///< tiles above each other
  int columns = 1;  ///< tiles beside each other

  /// How many tiles, and ranks.
  int size() const { return rows * columns; }

  /// Equal grids have as many rows and columns.
  friend bool operator==(const Grid& a, const Grid& b) { return a.rows == b.rows && a.columns == b.columns; }
  /// Not equal.
  friend bool operator!=(const Grid& a, const Grid& b) { return !(a == b); }
};

/// Reads "2x3": 2 rows of 3 tiles each.
/// \throws ContractError, which says what a grid looks like, when it is none; there may be 4096 tiles.
Grid ParseGrid(std::string_view text);

/// "2x3".
std::string ToString(const Grid& grid);

/// Which pixels each tile of a grid has. Tile (r, c) is that of rank r * columns.size() + c, and has the pixels
/// rows[r] x columns[c]. Ranges may be empty, and may overlap where ranks hold a halo besides their tile.
struct Tiling {
  std::vector<Range> rows;     ///< by row of the grid
  std::vector<Range> columns;  ///< by column of the grid

  /// How many tiles.
  int size() const { return static_cast<int>(rows.size() * columns.size()); }
  /// The pixels of a rank, as a box of two dimensions.
  Box TileOf(int rank) const;
  /// Those of all ranks.
  Distribution Boxes() const;
  /// Rows of the image, where the last tile of a column ends.
  int64_t height() const { return rows.back().end; }
  /// Columns of the image.
  int64_t width() const { return columns.back().end; }

  /// Equal tilings give each rank the same pixels.
  friend bool operator==(const Tiling& a, const Tiling& b) { return a.rows == b.rows && a.columns == b.columns; }
  /// Not equal.
  friend bool operator!=(const Tiling& a, const Tiling& b) { return !(a == b); }
};

/// The tiles of an image: SplitRange along each side.
/// \throws ContractError when a side has fewer pixels than the grid has tiles along it, saying which grids would do.
Tiling EvenTiling(const Grid& grid, int64_t height, int64_t width);

/// How a convolution or a pooling moves along one side of an image: output o reads the inputs o * stride - padding +
/// dilation * i for i = 0 .. kernel-1, and what lies outside of the image is padding.
struct SlidingWindow {
  int64_t kernel = 1;      ///< inputs that an output reads
  int64_t stride = 1;      ///< from one output's inputs to the next one's
  int64_t padding = 0;     ///< at each end of the image
  int64_t dilation = 1;    ///< from one input of an output to the next
  bool ceil_mode = false;  ///< of poolings: a last output whose window reaches beyond the padding counts too
};

/// The same along both sides.
struct ImageWindow {
  SlidingWindow rows;     ///< along the height: it moves from row to row
  SlidingWindow columns;  ///< along the width
};

}  // namespace shardlab
