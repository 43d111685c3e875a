#include "kit/strides.hpp"

#include <vector>

#include <ATen/ATen.h>

namespace shardlab::grade {

at::Tensor Strided(const at::Tensor& x) {
  std::vector<int64_t> shape = x.sizes().vec();
  shape.push_back(2);
  const at::Tensor strided = at::zeros(shape, x.options()).select(-1, 0);
  strided.copy_(x);
  return strided;
}

at::Tensor Apart(const at::Tensor& x) {
  if (x.dim() == 0) return Strided(x);
  std::vector<int64_t> longer = x.sizes().vec();
  ++longer.back();
  const at::Tensor apart = Strided(at::zeros(longer, x.options())).narrow(-1, 0, x.size(-1));
  apart.copy_(x);
  return apart;
}

at::Tensor Transposed(const at::Tensor& x) { return x.transpose(0, 1).contiguous().transpose(0, 1); }

}  // namespace shardlab::grade
