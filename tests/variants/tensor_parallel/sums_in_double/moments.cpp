#include "shardlab/tensor_parallel/moments.hpp"

#include <ATen/ATen.h>

// Sums around the first set's mean c, in float64: sum (x - c)^2 = m2 + n (mean - c)^2 for every set, and the sum over
// all of them less n (mean - c)^2 is m2. With c among the means, the squares are of differences again.

namespace shardlab {

Moments MergeMoments(const std::vector<Moments>& parts) {
  const at::ScalarType dtype = parts[0].mean.scalar_type();
  at::Tensor c;
  int64_t count = 0;
  at::Tensor first = at::zeros_like(parts[0].mean, at::kDouble);   // sum (x - c)
  at::Tensor second = at::zeros_like(parts[0].mean, at::kDouble);  // sum (x - c)^2
  for (const Moments& part : parts) {
    if (part.count == 0) continue;
    const at::Tensor mean = part.mean.to(at::kDouble);
    if (!c.defined()) c = mean;
    count += part.count;
    first += (mean - c) * part.count;
    second += part.m2.to(at::kDouble) + (mean - c).square() * part.count;
  }
  if (count == 0) return {0, at::zeros_like(parts[0].mean), at::zeros_like(parts[0].m2)};
  const at::Tensor shift = first / count;
  return {count, (c + shift).to(dtype), (second - shift * first).to(dtype)};
}

}  // namespace shardlab
