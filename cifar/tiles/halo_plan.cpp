#include "halo_plan.hpp"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/report/terminal.hpp"
#include "shardlab/spatial/window.hpp"

namespace shardlab::tiles {
namespace {

constexpr int64_t kLargest = 1 << 20;

std::vector<std::string> Split(const std::string& text, char at) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == at) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

// A whole number from `least` on; -1 when it is none.
int64_t Number(const std::string& text, int64_t least) {
  int64_t value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool good = error == std::errc() && end == text.data() + text.size() && value >= least && value <= kLargest;
  return good ? value : -1;
}

// "3" or "3x1", of rows and columns.
bool Pair(const std::string& text, int64_t least, int64_t* rows, int64_t* columns) {
  const std::vector<std::string> sides = Split(text, 'x');
  if (sides.size() > 2) return false;
  *rows = Number(sides.front(), least);
  *columns = Number(sides.back(), least);
  return *rows >= 0 && *columns >= 0;
}

Tiling OutputsOfTiles(const ImageWindow& window, const Tiling& tiling) {
  return {OutputsOf(window.rows, tiling.rows), OutputsOf(window.columns, tiling.columns)};
}

int64_t Volume(const Tiling& tiling) {
  int64_t pixels = 0;
  for (const Box& box : tiling.Boxes()) pixels += box.volume();
  return pixels;
}

int64_t Sent(const std::vector<Move>& moves) {
  int64_t pixels = 0;
  for (const Move& move : moves) pixels += move.from == move.to ? 0 : move.box.volume();
  return pixels;
}

std::string Sides(int64_t rows, int64_t columns) {
  return rows == columns ? std::to_string(rows) : fmt::format("{}x{}", rows, columns);
}

std::string Describe(const ImageWindow& w) {
  std::string text = fmt::format("kernel {}, stride {}, padding {}", Sides(w.rows.kernel, w.columns.kernel),
                                 Sides(w.rows.stride, w.columns.stride), Sides(w.rows.padding, w.columns.padding));
  if (w.rows.dilation != 1 || w.columns.dilation != 1) {
    text += fmt::format(", dilation {}", Sides(w.rows.dilation, w.columns.dilation));
  }
  return text;
}

// "0:4 x 4:8".
std::string Short(const Box& box) {
  if (box.empty()) return "nothing";
  return fmt::format("{}:{} x {}:{}", box.ranges[0].begin, box.ranges[0].end, box.ranges[1].begin, box.ranges[1].end);
}

std::string Count(int64_t n, const std::string& what) { return PrettyAmount(static_cast<double>(n), what + "s"); }

}  // namespace

int64_t LayerPlan::PixelsSent() const { return Sent(moves); }

ImageWindow ParseWindow(const std::string& text) {
  const std::vector<std::string> parts = Split(text, ',');
  ImageWindow window;
  const bool good = parts.size() >= 1 && parts.size() <= 4 &&
                    Pair(parts[0], 1, &window.rows.kernel, &window.columns.kernel) &&
                    (parts.size() < 2 || Pair(parts[1], 1, &window.rows.stride, &window.columns.stride)) &&
                    (parts.size() < 3 || Pair(parts[2], 0, &window.rows.padding, &window.columns.padding)) &&
                    (parts.size() < 4 || Pair(parts[3], 1, &window.rows.dilation, &window.columns.dilation));
  if (good) return window;
  throw ContractError(
      fmt::format("'{}' is no window: 7,2,3 is a kernel of 7, a stride of 2 and a padding of 3, and 1x7,1,0x3 "
                  "one with other rows than columns",
                  text.substr(0, 40)));
}

void ParseImage(const std::string& text, int64_t* height, int64_t* width) {
  if (text.find('x') != std::string::npos && Pair(text, 1, height, width)) return;
  throw ContractError(
      fmt::format("'{}' is no image: 56x56 has 56 rows and 56 columns, each at most {}", text.substr(0, 40), kLargest));
}

ChainPlan PlanChain(int64_t height, int64_t width, const Grid& grid, const std::vector<ImageWindow>& windows) {
  ChainPlan plan;
  plan.grid = grid;
  Tiling tiling = EvenTiling(grid, height, width);
  for (const ImageWindow& window : windows) {
    LayerPlan layer;
    layer.window = window;
    layer.inputs = tiling;
    layer.outputs = tiling = OutputsOfTiles(window, tiling);
    layer.reads = InputsOfTiles(window, layer.outputs, layer.inputs.height(), layer.inputs.width());
    layer.moves = Moves(layer.inputs.Boxes(), layer.reads.Boxes());
    plan.layers.push_back(std::move(layer));
  }
  Tiling wanted = tiling;  // of the last layer: what each rank owns, and of those in front what the ones behind read
  for (size_t i = plan.layers.size(); i-- > 0;) {
    plan.redundant += Volume(wanted) - Volume(plan.layers[i].outputs);
    wanted =
        InputsOfTiles(plan.layers[i].window, wanted, plan.layers[i].inputs.height(), plan.layers[i].inputs.width());
  }
  plan.fused_reads = wanted;
  plan.fused_moves = Moves(plan.layers.front().inputs.Boxes(), wanted.Boxes());
  return plan;
}

std::string TextOf(const ChainPlan& plan) {
  const Tiling& image = plan.layers.front().inputs;
  std::string text =
      fmt::format("image of {} x {} pixels, {} tiles\n", image.height(), image.width(), ToString(plan.grid));
  int64_t messages = 0, pixels = 0;
  for (size_t i = 0; i < plan.layers.size(); ++i) {
    const LayerPlan& layer = plan.layers[i];
    text += fmt::format("\nlayer {}: {}, {} x {} to {} x {}\n", i + 1, Describe(layer.window), layer.inputs.height(),
                        layer.inputs.width(), layer.outputs.height(), layer.outputs.width());
    text +=
        fmt::format("{:<5} {:<17} {:<17} {:<17} {}\n", "rank", "has", "computes", "reads", "halo, pixels of a channel");
    for (int rank = 0; rank < plan.grid.size(); ++rank) {
      std::vector<std::string> halo;
      for (const Move& move : layer.moves) {
        if (move.to == rank && move.from != rank) halo.push_back(fmt::format("{} of {}", move.box.volume(), move.from));
      }
      text += fmt::format("{:<5} {:<17} {:<17} {:<17} {}\n", rank, Short(layer.inputs.TileOf(rank)),
                          Short(layer.outputs.TileOf(rank)), Short(layer.reads.TileOf(rank)),
                          halo.empty() ? "none" : fmt::format("{}", fmt::join(halo, ", ")));
    }
    const int64_t here = CountMessages(layer.moves);
    messages += here;
    pixels += layer.PixelsSent();
    text += fmt::format("{}, {} of a channel forward, and as many back\n", Count(here, "message"),
                        Count(layer.PixelsSent(), "pixel"));
  }
  if (plan.layers.size() == 1) return text;
  std::vector<SlidingWindow> rows, columns;
  for (const LayerPlan& layer : plan.layers) {
    rows.push_back(layer.window.rows);
    columns.push_back(layer.window.columns);
  }
  const Halo above = HaloOf(rows), left = HaloOf(columns);
  text += fmt::format(
      "\nan exchange a layer:   {} in {} rounds, {}\none exchange for all:  {} in 1 round, {}; {} computed twice\n"
      "halo of all layers for a tile in the middle: {} above, {} below, {} left, {} right\n",
      Count(messages, "message"), plan.layers.size(), Count(pixels, "pixel"),
      Count(CountMessages(plan.fused_moves), "message"), Count(Sent(plan.fused_moves), "pixel"),
      Count(plan.redundant, "output"), above.before, above.behind, left.before, left.behind);
  return text;
}

}  // namespace shardlab::tiles
