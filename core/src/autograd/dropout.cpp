#include "shardlab/autograd/dropout.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {
namespace {

// The last step of SplitMix64 (G. Steele et al., OOPSLA 2014): every bit of the input changes half of the output's.
uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace

at::Tensor DropoutMask(const std::vector<int64_t>& shape, double p, const DropoutKey& key, const DropoutSlice& slice,
                       at::ScalarType dtype) {
  if (!(p >= 0 && p < 1)) throw ContractError(fmt::format("Dropout: p is {}, it must be in [0, 1)", p));
  const size_t dims = shape.size();
  std::vector<int64_t> full = slice.full_shape.empty() ? shape : slice.full_shape;
  std::vector<int64_t> offset = slice.offset.empty() ? std::vector<int64_t>(dims, 0) : slice.offset;
  bool fits = full.size() == dims && offset.size() == dims && slice.sample_dim >= 0 &&
              (dims == 0 || slice.sample_dim < static_cast<int64_t>(dims));
  for (size_t d = 0; fits && d < dims; ++d) fits = offset[d] >= 0 && offset[d] + shape[d] <= full[d];
  if (!fits) {
    throw ContractError(fmt::format("Dropout: a tensor [{}] at [{}] is no part of one of shape [{}], samples in dim {}",
                                    fmt::join(shape, ", "), fmt::join(offset, ", "), fmt::join(full, ", "),
                                    slice.sample_dim));
  }

  // An element's place within its sample: row-major, with the samples' dimension left out.
  std::vector<int64_t> stride(dims, 0);
  int64_t size = 1;
  for (size_t d = dims; d-- > 0;) {
    if (static_cast<int64_t>(d) == slice.sample_dim) continue;
    stride[d] = size;
    size *= full[d];
  }

  const uint64_t run = Mix(Mix(Mix(key.seed) ^ key.step) ^ key.layer);
  // Compared as whole numbers of 53 bits, so that the mask is the same in every dtype.
  const auto dropped_below = static_cast<uint64_t>(p * 9007199254740992.0);
  const at::Tensor mask = at::empty(shape, at::kDouble);
  auto* values = mask.data_ptr<double>();
  const double kept = 1.0 / (1.0 - p);
  const int64_t count = mask.numel();
#pragma omp parallel for if (count > 32768)
  for (int64_t i = 0; i < count; ++i) {
    uint64_t sample = 0, element = 0;
    int64_t rest = i;
    for (size_t d = dims; d-- > 0;) {
      const int64_t index = offset[d] + rest % shape[d];
      rest /= shape[d];
      if (static_cast<int64_t>(d) == slice.sample_dim) {
        sample = static_cast<uint64_t>(index);
      } else {
        element += static_cast<uint64_t>(index * stride[d]);
      }
    }
    values[i] = (Mix(Mix(run ^ sample) ^ element) >> 11) < dropped_below ? 0.0 : kept;
  }
  return mask.to(dtype);
}

at::Tensor Dropout(const at::Tensor& x, double p, const DropoutKey& key, const DropoutSlice& slice) {
  return x * DropoutMask(x.sizes().vec(), p, key, slice, x.scalar_type()).to(x.device());
}

}  // namespace shardlab
