#include "shardlab/spatial/pooling.hpp"

#include <algorithm>
#include <limits>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/spatial/tile_window.hpp"
#include "shardlab/spatial/window.hpp"

// Poolings on tiles are convolutions without weights: halo, padding, arithmetic. What they ask of the padding differs.
//
//     maximum    pads with -infinity, which is never the largest
//     average    pads with 0, which adds nothing, and divides by what an output's window counts: along one side
//
//          pixels           .  0  1  2  3  4 (.)        "." padding, kernel 3, stride 2, ceil_mode
//                           |_____|                      2 of the image, 3 with padding
//                                 |_____|                3               3
//                                       |_____|          1               2: (.) is behind the padding, and counts for nobody
//
//          and in two dimensions the counts along the sides are multiplied.

namespace shardlab {

namespace {

struct Read {
  at::Tensor held;    // the pixels that this rank has after the exchange
  at::Tensor pixels;  // all that its outputs read, padding included
  Box outputs;
};

Read ReadFor(const TiledImage& x, const ImageWindow& window, const Tiling& outputs, double padding,
             const std::shared_ptr<Communicator>& comm) {
  const int64_t height = x.tiling.height(), width = x.tiling.width();
  const TiledImage wide = WithHalo(x, InputsOfTiles(window, outputs, height, width), comm);
  const Box mine = outputs.TileOf(comm->rank());
  return {wide.values, WithPadding(wide.values, wide.held.TileOf(comm->rank()), height, width, window, mine, padding),
          mine};
}

// LibTorch pools no empty image. The result hangs in the graph, so that this rank's backward takes part in the exchange.
at::Tensor Nothing(const Read& read) {
  return at::zeros(
             {read.pixels.size(0), read.pixels.size(1), read.outputs.ranges[0].size(), read.outputs.ranges[1].size()},
             read.pixels.options().requires_grad(false)) +
         read.held.sum() * 0;
}

bool IsEmpty(const Read& read) { return read.outputs.empty() || read.pixels.numel() == 0; }

// What each output's window counts along one side.
at::Tensor Counts(const SlidingWindow& window, Range outputs, int64_t size, bool include_pad,
                  at::TensorOptions options) {
  const at::Tensor counts = at::empty({outputs.size()}, options.requires_grad(false));
  const Range counted = include_pad ? Range{-window.padding, size + window.padding} : Range{0, size};
  for (int64_t o = outputs.begin; o < outputs.end; ++o) {
    const Range read = InputsOf(window, {o, o + 1});
    counts[o - outputs.begin] = std::min(read.end, counted.end) - std::max(read.begin, counted.begin);
  }
  return counts;
}

}  // namespace

at::Tensor TiledMaxPool2d(const TiledImage& x, const ImageWindow& window, const Tiling& outputs,
                          std::shared_ptr<Communicator> comm) {
  const Read read = ReadFor(x, window, outputs, -std::numeric_limits<double>::infinity(), comm);
  if (IsEmpty(read)) return Nothing(read);
  return at::max_pool2d(read.pixels, {window.rows.kernel, window.columns.kernel},
                        {window.rows.stride, window.columns.stride}, /*padding=*/0,
                        {window.rows.dilation, window.columns.dilation});
}

at::Tensor TiledAveragePool2d(const TiledImage& x, const ImageWindow& window, bool count_include_pad, int64_t divisor,
                              const Tiling& outputs, std::shared_ptr<Communicator> comm) {
  if (window.rows.dilation != 1 || window.columns.dilation != 1 || divisor < 0) {
    throw ContractError(
        fmt::format("an average pooling has a dilation of 1 and a divisor of 0 or more, not {} x {} and {}",
                    window.rows.dilation, window.columns.dilation, divisor));
  }
  const Read read = ReadFor(x, window, outputs, 0, comm);
  if (IsEmpty(read)) return Nothing(read);
  const at::Tensor sums =
      at::avg_pool2d(read.pixels, {window.rows.kernel, window.columns.kernel},
                     {window.rows.stride, window.columns.stride}, /*padding=*/0, /*ceil_mode=*/false,
                     /*count_include_pad=*/true, /*divisor_override=*/1);
  if (divisor > 0) return sums / divisor;
  const at::Tensor rows =
      Counts(window.rows, read.outputs.ranges[0], x.tiling.height(), count_include_pad, sums.options());
  const at::Tensor columns =
      Counts(window.columns, read.outputs.ranges[1], x.tiling.width(), count_include_pad, sums.options());
  return sums / (rows.unsqueeze(1) * columns);
}

}  // namespace shardlab
