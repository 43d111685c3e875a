#include "shardlab/spatial/window.hpp"

#include <algorithm>

#include "shardlab/base/errors.hpp"

namespace shardlab {

int64_t OutputSize(const SlidingWindow& w, int64_t inputs) {
  const int64_t last = (w.kernel - 1) * w.dilation;
  int64_t outputs = 0;
  while (outputs * w.stride - w.padding + last < inputs + w.padding) ++outputs;
  if (outputs == 0) throw ContractError("no window fits");
  const int64_t next = outputs * w.stride - w.padding;
  const bool reaches_more = (outputs - 1) * w.stride - w.padding + last < inputs + w.padding - 1;
  return w.ceil_mode && reaches_more && next < inputs ? outputs + 1 : outputs;
}

Range InputsOf(const SlidingWindow& w, Range outputs) {
  Range all{outputs.begin * w.stride - w.padding, outputs.begin * w.stride - w.padding};
  for (int64_t o = outputs.begin; o < outputs.end; ++o)
    all.end = o * w.stride - w.padding + (w.kernel - 1) * w.dilation + 1;
  return all;
}

std::vector<Range> OutputsOf(const SlidingWindow& w, const std::vector<Range>& tiles) {
  const int64_t outputs = OutputSize(w, tiles.back().end);
  std::vector<Range> parts;
  int64_t o = 0;
  for (const Range& tile : tiles) {
    const int64_t begin = o;
    while (o < outputs && o * w.stride < tile.end) ++o;
    parts.push_back({begin, o});
  }
  parts.back().end = outputs;
  return parts;
}

Tiling InputsOfTiles(const ImageWindow& w, const Tiling& outputs, int64_t height, int64_t width) {
  Tiling read = outputs;
  for (Range& range : read.rows) range = InputsOf(w.rows, range);
  for (Range& range : read.columns) range = InputsOf(w.columns, range);
  for (auto* side : {&read.rows, &read.columns}) {
    const int64_t size = side == &read.rows ? height : width;
    for (Range& range : *side) {
      range.begin = std::min(std::max<int64_t>(range.begin, 0), size);
      range.end = std::max(range.begin, std::min(range.end, size));
    }
  }
  return read;
}

Halo HaloOf(const std::vector<SlidingWindow>& chain) {
  int64_t all = 1;
  for (const SlidingWindow& w : chain) all *= w.stride;
  int64_t begin = 0, end = 1000;  // outputs of the last layer, far from both ends
  for (size_t i = chain.size(); i-- > 0;) {
    const Range read = InputsOf(chain[i], {begin, end});
    begin = read.begin, end = read.end;
  }
  return {std::max<int64_t>(-begin, 0), std::max<int64_t>(end - 1000 * all, 0)};
}

}  // namespace shardlab
