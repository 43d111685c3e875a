#include "shardlab/autograd/dropout.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "shardlab/base/counter_random.hpp"
#include "shardlab/base/errors.hpp"

namespace shardlab {
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

  const CounterRandom samples({key.seed, key.step, key.layer});
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
    values[i] = CounterRandom({samples.At(sample)}).UniformAt(element) < p ? 0.0 : kept;
  }
  return mask.to(dtype);
}

at::Tensor Dropout(const at::Tensor& x, double p, const DropoutKey& key, const DropoutSlice& slice) {
  return x * DropoutMask(x.sizes().vec(), p, key, slice, x.scalar_type()).to(x.device());
}

}  // namespace shardlab
