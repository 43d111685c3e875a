#include "shardlab/tensor_parallel/moments.hpp"

#include <ATen/ATen.h>

// Steiner's theorem: around any point c, a set spreads by sum (x - c)^2 = m2 + n (mean - c)^2. With c the mean of all
// sets together, the sum over the sets is the m2 of all:
//
//     m2 = sum m2_t + sum n_t (mean_t - mean)^2
//          (1) within     (2) between the sets
//
// Both are sums of squares of DIFFERENCES. (The other way, sum x^2 - n mean^2, subtracts two numbers of the size of
// mean^2 to get one of the size of the variance: at mean 1000 and variance 1, float32 has no digit left for it.)

namespace shardlab {

Moments MergeMoments(const std::vector<Moments>& parts) {
  Moments all{0, at::zeros_like(parts.front().mean), at::zeros_like(parts.front().m2)};
  for (const Moments& part : parts) all.count += part.count;
  const auto share = [&](const Moments& part) { return static_cast<double>(part.count) / all.count; };

  for (const Moments& part : parts) {
    if (part.count > 0) all.mean += part.mean * share(part);
  }
  for (const Moments& part : parts) {
    if (part.count > 0) all.m2 += part.m2 + part.count * (part.mean - all.mean).square();  // (1), (2)
  }
  return all;
}

}  // namespace shardlab
