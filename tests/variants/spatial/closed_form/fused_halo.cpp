#include "shardlab/spatial/fused_halo.hpp"

#include <algorithm>

#include "shardlab/spatial/window.hpp"

namespace shardlab {

Range OutputsWithin(const SlidingWindow& w, Range held, int64_t inputs) {
  const int64_t outputs = OutputSize(w, inputs), reach = (w.kernel - 1) * w.dilation + 1;
  if (held.end <= held.begin) return {0, 0};
  const auto up = [](int64_t n, int64_t by) { return n <= 0 ? 0 : (n + by - 1) / by; };
  const int64_t begin = held.begin == 0 ? 0 : std::min(outputs, up(held.begin + w.padding, w.stride));
  int64_t end = outputs;
  if (held.end < inputs) {
    const int64_t room = held.end - reach + w.padding;  // of the first input of the last window
    end = room < 0 ? 0 : std::min(outputs, room / w.stride + 1);
  }
  return {begin, std::max(begin, end)};
}

}  // namespace shardlab
