#include "shardlab/communication/flatten.hpp"

// Packing and unpacking in parallel
// =================================
//     tensors    | t0 | t1 |        t2        | t3 |      offsets 0, 2, 4, 13, 15
//     flat       |====.====.==================.====|
//     threads    |---- thread 0 -----|---- thread 1 ----|
//
//     (1)  The RESULT is divided among the threads, not the list of tensors: one large and many small tensors keep all
//          threads equally busy.
//     (2)  Every offset is known before the threads start. A running `offset += n` that threads share would be a race.
//     (3)  A thread's share begins somewhere inside a tensor and ends inside another: it copies the pieces between.
//     (4)  No two shares overlap, so no element is written twice, and nothing depends on the number of threads.

#include <ATen/ATen.h>
#include <omp.h>

#include <algorithm>
#include <cstring>

#include "shardlab/base/split.hpp"

namespace shardlab {
namespace {

/// Calls copy(tensor, first element in it, first element in flat, elements) for pieces that together cover all tensors.
template <typename Copy>
void ForPieces(const std::vector<at::Tensor>& tensors, Copy copy) {
  std::vector<int64_t> offsets = {0};  // (2)
  for (const at::Tensor& tensor : tensors) offsets.push_back(offsets.back() + tensor.numel());

#pragma omp parallel
  {
    const Range share = SplitRange(offsets.back(), omp_get_num_threads(), omp_get_thread_num());  // (1) (4)
    size_t i = std::upper_bound(offsets.begin(), offsets.end(), share.begin) - offsets.begin() - 1;
    for (int64_t begin = share.begin; begin < share.end; ++i) {  // (3)
      const int64_t end = std::min(share.end, offsets[i + 1]);
      copy(tensors[i], begin - offsets[i], begin, end - begin);
      begin = end;
    }
  }
}

char* Bytes(const at::Tensor& tensor) { return static_cast<char*>(tensor.data_ptr()); }

}  // namespace

at::Tensor Flatten(const std::vector<at::Tensor>& tensors) {
  std::vector<at::Tensor> sources;
  int64_t total = 0;
  for (const at::Tensor& tensor : tensors) {
    sources.push_back(tensor.detach().contiguous());
    total += tensor.numel();
  }
  const at::Tensor flat = at::empty({total}, tensors.at(0).options().requires_grad(false));
  const int64_t size = flat.element_size();
  char* const to = Bytes(flat);
  ForPieces(sources, [=](const at::Tensor& source, int64_t first, int64_t position, int64_t count) {
    std::memcpy(to + position * size, Bytes(source) + first * size, count * size);
  });
  return flat;
}

void Unflatten(const at::Tensor& flat, const std::vector<at::Tensor>& into) {
  std::vector<at::Tensor> targets;
  for (const at::Tensor& tensor : into) {
    targets.push_back(tensor.is_contiguous() ? tensor : at::empty(tensor.sizes(), tensor.options()));
  }
  const int64_t size = flat.element_size();
  const char* const from = Bytes(flat);
  ForPieces(targets, [=](const at::Tensor& target, int64_t first, int64_t position, int64_t count) {
    std::memcpy(Bytes(target) + first * size, from + position * size, count * size);
  });
  for (size_t i = 0; i < into.size(); ++i) {
    if (!targets[i].is_same(into[i])) into[i].copy_(targets[i]);
  }
}

}  // namespace shardlab
