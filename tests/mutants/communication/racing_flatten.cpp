#include <ATen/ATen.h>

#include <cstring>

#include "shardlab/communication/flatten.hpp"

namespace shardlab {

at::Tensor Flatten(const std::vector<at::Tensor>& tensors) {
  int64_t total = 0;
  for (const at::Tensor& tensor : tensors) total += tensor.numel();
  const at::Tensor flat = at::empty({total}, tensors.at(0).options().requires_grad(false));
  int64_t offset = 0;
#pragma omp parallel for schedule(dynamic)
  for (size_t i = 0; i < tensors.size(); ++i) {
    const at::Tensor source = tensors[i].detach().contiguous();
    const int64_t begin = offset;
    offset += source.numel();
    flat.narrow(0, begin, source.numel()).copy_(source.view({-1}));
  }
  return flat;
}

void Unflatten(const at::Tensor& flat, const std::vector<at::Tensor>& into) {
  int64_t begin = 0;
  for (const at::Tensor& tensor : into) {
    tensor.copy_(flat.narrow(0, begin, tensor.numel()).view(tensor.sizes()));
    begin += tensor.numel();
  }
}

}  // namespace shardlab
