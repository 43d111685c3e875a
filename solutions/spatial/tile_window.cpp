#include "shardlab/spatial/tile_window.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/spatial/halo_exchange.hpp"
#include "shardlab/spatial/window.hpp"

// What a window reads lies in three places: on this rank, on neighbours, and nowhere.
//
//                      image
//                 0 |------------------------------| n
//       needs   . . . . . . . . .                            InputsOf(outputs)
//               |(3)| (1)  | (2)|
//                   |------|                                 held
//
//   (1) This rank has it. (2) A neighbour has it: it belongs to InputsOfTiles, and is here after an exchange. (3) It lies
//   outside of the image, where nobody has anything: padding, and only at an end of the IMAGE. A tile's own end has none.

namespace shardlab {

namespace {

Range Within(Range range, int64_t size) {
  const int64_t begin = std::clamp<int64_t>(range.begin, 0, size);
  return {begin, std::max(begin, std::min(range.end, size))};
}

}  // namespace

TiledImage WithHalo(const TiledImage& x, const Tiling& needed, std::shared_ptr<Communicator> comm) {
  for (int rank = 0; rank < needed.size(); ++rank) {
    const Box box = needed.TileOf(rank);
    if (box.empty() || Intersection(box, x.held.TileOf(rank)) == box) continue;
    return {ExchangePixels(x.values, x.held.Boxes(), needed.Boxes(), std::move(comm)), x.tiling, needed};
  }
  return x;
}

at::Tensor WithPadding(const at::Tensor& x, const Box& held, int64_t height, int64_t width, const ImageWindow& window,
                       const Box& outputs, double padding) {
  const Range rows = InputsOf(window.rows, outputs.ranges[0]), columns = InputsOf(window.columns, outputs.ranges[1]);
  if (outputs.empty()) return x.new_zeros({x.size(0), x.size(1), rows.size(), columns.size()});
  const Box inside{{Within(rows, height), Within(columns, width)}};
  if (!inside.empty() && Intersection(inside, held) != inside) {
    throw ContractError(fmt::format("the outputs {} read the pixels {}, of which only {} are held", ToString(outputs),
                                    ToString(inside), ToString(held)));
  }
  const Box here = inside.empty() ? Box{{{0, 0}, {0, 0}}} : Relative(inside, held);
  const at::Tensor pixels = ViewOfPixels(x, here);  // (1) (2)
  const int64_t left = inside.ranges[1].begin - columns.begin, above = inside.ranges[0].begin - rows.begin;
  const int64_t right = columns.end - inside.ranges[1].end, below = rows.end - inside.ranges[0].end;
  if (left == 0 && right == 0 && above == 0 && below == 0) return pixels;
  return at::constant_pad_nd(pixels, {left, right, above, below}, padding);  // (3)
}

}  // namespace shardlab
