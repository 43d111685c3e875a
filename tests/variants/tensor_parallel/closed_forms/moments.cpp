#include "shardlab/tensor_parallel/moments.hpp"

#include <utility>

#include <ATen/ATen.h>

// A tournament: neighbours are merged until one is left.

namespace shardlab {
namespace {

// Two sets, by Chan's rule for two: m2 grows by delta^2 n_a n_b / n.
Moments Merge(const Moments& a, const Moments& b) {
  if (a.count == 0) return b;
  if (b.count == 0) return a;
  const double n = static_cast<double>(a.count + b.count);
  const at::Tensor delta = b.mean - a.mean;
  const double share_b = static_cast<double>(b.count) / n;
  return {a.count + b.count, a.mean + delta * share_b,
          a.m2 + b.m2 + delta.square() * (static_cast<double>(a.count) * share_b)};
}

}  // namespace

Moments MergeMoments(const std::vector<Moments>& parts) {
  std::vector<Moments> round = parts;
  while (round.size() > 1) {
    std::vector<Moments> winners;
    for (size_t i = 0; i + 1 < round.size(); i += 2) winners.push_back(Merge(round[i], round[i + 1]));
    if (round.size() % 2 == 1) winners.push_back(round.back());
    round = std::move(winners);
  }
  const Moments& all = round.front();
  if (all.count == 0) return {0, at::zeros_like(all.mean), at::zeros_like(all.m2)};
  return {all.count, all.mean.clone(), all.m2.clone()};
}

}  // namespace shardlab
