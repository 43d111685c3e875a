#include "shardlab/communication/flatten.hpp"

#include <ATen/ATen.h>

namespace shardlab {
namespace {

std::vector<int64_t> Offsets(const std::vector<at::Tensor>& tensors) {
  std::vector<int64_t> offsets(tensors.size() + 1, 0);
  for (size_t i = 0; i < tensors.size(); ++i) offsets[i + 1] = offsets[i] + tensors[i].numel();
  return offsets;
}

}  // namespace

at::Tensor Flatten(const std::vector<at::Tensor>& tensors) {
  const std::vector<int64_t> offsets = Offsets(tensors);
  const at::Tensor flat = at::empty({offsets.back()}, tensors.at(0).options().requires_grad(false));
  const auto count = static_cast<int64_t>(tensors.size());
#pragma omp parallel for schedule(dynamic)
  for (int64_t i = 0; i < count; ++i) {
    flat.narrow(0, offsets[i], tensors[i].numel()).view(tensors[i].sizes()).copy_(tensors[i].detach());
  }
  return flat;
}

void Unflatten(const at::Tensor& flat, const std::vector<at::Tensor>& into) {
  const std::vector<int64_t> offsets = Offsets(into);
  const auto count = static_cast<int64_t>(into.size());
#pragma omp parallel for schedule(dynamic)
  for (int64_t i = 0; i < count; ++i) {
    into[i].detach().copy_(flat.narrow(0, offsets[i], into[i].numel()).view(into[i].sizes()));
  }
}

}  // namespace shardlab
