#include "shardlab/spatial/window.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "shardlab/base/errors.hpp"

// Where a window stands
// =====================
// Output o reads `kernel` inputs, `dilation` apart, the first of them at o * stride - padding. Kernel 3, stride 2, padding 1:
//
//     inputs     -1  0  1  2  3  4  5  6          o = 0 reads -1  0  1
//                 .__|__|                         o = 1 reads  1  2  3
//                       |__|__|                   o = 2 reads  3  4  5
//                             |__|__|
//
//     reach = dilation (kernel - 1) + 1           from the first input of a window to behind its last            (1)
//     outputs o0:o1 read o0 * stride - padding : (o1 - 1) * stride - padding + reach                             (2)
//
// Who computes output o? Its window lies across a border as often as not. The tile that has input o * stride, the place in
// the image that the output stands for: then the outputs are where the inputs are, whatever the padding, and the halo is as
// narrow as it can be on both sides.                                                                             (3)

namespace shardlab {

namespace {

int64_t Reach(const SlidingWindow& window) { return window.dilation * (window.kernel - 1) + 1; }  // (1)

int64_t DivideUp(int64_t n, int64_t by) { return (n + by - 1) / by; }

}  // namespace

int64_t OutputSize(const SlidingWindow& window, int64_t inputs) {
  const int64_t room = inputs + 2 * window.padding - Reach(window);  // for the window to move
  if (room < 0) {
    throw ContractError(fmt::format("a window of {} pixels does not fit an image of {} with a padding of {}",
                                    Reach(window), inputs, window.padding));
  }
  if (!window.ceil_mode) return room / window.stride + 1;
  const int64_t outputs = DivideUp(room, window.stride) + 1;
  const bool last_is_outside = (outputs - 1) * window.stride >= inputs + window.padding;
  return last_is_outside ? outputs - 1 : outputs;
}

Range InputsOf(const SlidingWindow& window, Range outputs) {
  const int64_t begin = outputs.begin * window.stride - window.padding;
  if (outputs.size() <= 0) return {begin, begin};
  return {begin, (outputs.end - 1) * window.stride - window.padding + Reach(window)};  // (2)
}

std::vector<Range> OutputsOf(const SlidingWindow& window, const std::vector<Range>& tiles) {
  const int64_t outputs = OutputSize(window, tiles.back().end);
  std::vector<Range> of_tiles;
  int64_t begin = 0;
  for (size_t i = 0; i < tiles.size(); ++i) {  // (3)
    const bool last = i + 1 == tiles.size();
    const int64_t end = last ? outputs : std::min(outputs, DivideUp(tiles[i].end, window.stride));
    of_tiles.push_back({begin, end});
    begin = end;
  }
  return of_tiles;
}

// What lies outside of the image nobody has, and nobody needs to send.
Tiling InputsOfTiles(const ImageWindow& window, const Tiling& outputs, int64_t height, int64_t width) {
  const auto along = [](const SlidingWindow& side, const std::vector<Range>& ranges, int64_t size) {
    std::vector<Range> inputs;
    for (const Range& range : ranges) {
      const Range read = InputsOf(side, range);
      const int64_t begin = std::clamp<int64_t>(read.begin, 0, size);
      inputs.push_back({begin, std::clamp<int64_t>(read.end, begin, size)});
    }
    return inputs;
  };
  return {along(window.rows, outputs.rows, height), along(window.columns, outputs.columns, width)};
}

// A layer's halo is counted in pixels of its own input, of which each is J pixels of the chain's: J inputs of the first layer
// lie between two neighbours in front of this one. The widths add up, since each layer needs its outputs' halo too.
Halo HaloOf(const std::vector<SlidingWindow>& chain) {
  Halo halo;
  int64_t j = 1;
  for (const SlidingWindow& window : chain) {
    halo.before += window.padding * j;
    halo.behind += (Reach(window) - window.stride - window.padding) * j;
    j *= window.stride;
  }
  return {std::max<int64_t>(halo.before, 0), std::max<int64_t>(halo.behind, 0)};
}

}  // namespace shardlab
