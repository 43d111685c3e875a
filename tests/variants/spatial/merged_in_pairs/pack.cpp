#include "shardlab/spatial/pack.hpp"

#include <ATen/ATen.h>
#include <omp.h>

namespace shardlab {

namespace {

at::Tensor View(const at::Tensor& x, const Box& box) {
  return x.slice(2, box.ranges[0].begin, box.ranges[0].end).slice(3, box.ranges[1].begin, box.ranges[1].end);
}

}  // namespace

at::Tensor PackPixels(const at::Tensor& x, const std::vector<Box>& boxes) {
  int64_t elements = 0;
  for (const Box& box : boxes) elements += box.volume() * x.size(0) * x.size(1);
  const at::Tensor packed = at::empty({elements}, x.options().requires_grad(false));
  const at::Tensor from = x.detach();
  int64_t place = 0;
  for (const Box& box : boxes) {
    const at::Tensor source = View(from, box);
    const at::Tensor target = packed.narrow(0, place, source.numel()).view(source.sizes());
    const int64_t images = x.size(0) * x.size(1);
    if (source.numel() > 0) {
      const bool is_double = x.scalar_type() == at::kDouble;
      const int64_t rows = source.size(2), columns = source.size(3), channels = x.size(1);
#pragma omp parallel for
      for (int64_t i = 0; i < images * rows; ++i) {
        const int64_t image = i / rows, row = i % rows;
        const int64_t s =
            image / channels * source.stride(0) + image % channels * source.stride(1) + row * source.stride(2);
        for (int64_t c = 0; c < columns; ++c) {
          if (is_double) {
            target.data_ptr<double>()[i * columns + c] = source.data_ptr<double>()[s + c * source.stride(3)];
          } else {
            target.data_ptr<float>()[i * columns + c] = source.data_ptr<float>()[s + c * source.stride(3)];
          }
        }
      }
    }
    place += source.numel();
  }
  return packed;
}

void AddPackedPixels(const at::Tensor& packed, const std::vector<Box>& boxes, const at::Tensor& into) {
  int64_t place = 0;
  for (const Box& box : boxes) {
    at::Tensor target = View(into, box);
    target.add_(packed.narrow(0, place, target.numel()).view(target.sizes()));
    place += target.numel();
  }
}

}  // namespace shardlab
