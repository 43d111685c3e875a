#include "shardlab/spatial/fused_halo.hpp"

#include "shardlab/spatial/window.hpp"

// One exchange for a group of layers
// ==================================
// A rank that has enough of its neighbours' pixels computes its neighbours' outputs as well, a ring of them that is one window
// narrower with every layer, and needs no message until the ring is used up:
//
//     in front of the group    ##[ tile ]##        exchanged once, as wide as the group needs
//     behind layer 1            #[ tile ]#         (1) all outputs that these pixels are enough for
//     behind layer 2             [ tile ]
//
// At the image's end the ring does not shrink: what lies outside is padding, and padding is there for every layer. (To shift the
// padding through the layers, as if it were pixels, is the usual mistake: a convolution of padding is not padding.)

namespace shardlab {

Range OutputsWithin(const SlidingWindow& window, Range held, int64_t inputs) {
  const int64_t outputs = OutputSize(window, inputs);
  const auto is_enough = [&](int64_t o) {  // (1)
    const Range read = InputsOf(window, {o, o + 1});
    const Range pixels{read.begin > 0 ? read.begin : 0, read.end < inputs ? read.end : inputs};
    return pixels.size() <= 0 || (held.begin <= pixels.begin && pixels.end <= held.end);
  };
  if (held.size() <= 0) return {0, 0};
  int64_t begin = 0;
  while (held.begin > 0 && begin < outputs && InputsOf(window, {begin, begin + 1}).end <= held.begin) ++begin;
  while (begin < outputs && !is_enough(begin)) ++begin;
  int64_t end = begin;
  while (end < outputs && is_enough(end)) ++end;
  return {begin, end};
}

}  // namespace shardlab
