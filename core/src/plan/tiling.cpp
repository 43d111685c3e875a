#include "shardlab/plan/tiling.hpp"

#include <charconv>

#include <fmt/format.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

namespace {

constexpr int kMostTiles = 4096;

// The whole text as a number of tiles; 0 when it is none.
int TilesAlong(std::string_view text) {
  int tiles = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), tiles);
  return error == std::errc() && end == text.data() + text.size() && tiles >= 1 && tiles <= kMostTiles ? tiles : 0;
}

std::vector<Range> EvenRanges(int64_t pixels, int tiles) {
  std::vector<Range> ranges;
  for (int i = 0; i < tiles; ++i) ranges.push_back(SplitRange(pixels, tiles, i));
  return ranges;
}

}  // namespace

Grid ParseGrid(std::string_view text) {
  const size_t times = text.find('x');
  if (times != std::string_view::npos) {
    const Grid grid{TilesAlong(text.substr(0, times)), TilesAlong(text.substr(times + 1))};
    if (grid.rows > 0 && grid.columns > 0 && grid.rows <= kMostTiles / grid.columns) return grid;
  }
  throw ContractError(fmt::format("'{}' is no grid: 2x3 is two rows of three tiles; there may be {} tiles",
                                  text.substr(0, 40), kMostTiles));
}

std::string ToString(const Grid& grid) { return fmt::format("{}x{}", grid.rows, grid.columns); }

Box Tiling::TileOf(int rank) const {
  return {
      {rows.at(static_cast<size_t>(rank) / columns.size()), columns.at(static_cast<size_t>(rank) % columns.size())}};
}

Distribution Tiling::Boxes() const {
  Distribution boxes;
  for (int rank = 0; rank < size(); ++rank) boxes.push_back(TileOf(rank));
  return boxes;
}

Tiling EvenTiling(const Grid& grid, int64_t height, int64_t width) {
  if (grid.rows < 1 || grid.columns < 1) {
    throw ContractError(fmt::format("a grid has 1 row and 1 column or more, not {}", ToString(grid)));
  }
  if (height < grid.rows || width < grid.columns) {
    throw ContractError(fmt::format(
        "a grid of {} tiles does not fit an image of {} x {} pixels, which has {} {}: at most {}x{} tiles would do",
        ToString(grid), height, width, height < grid.rows ? height : width, height < grid.rows ? "rows" : "columns",
        height, width));
  }
  return {EvenRanges(height, grid.rows), EvenRanges(width, grid.columns)};
}

}  // namespace shardlab
