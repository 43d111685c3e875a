#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "kit/strides.hpp"
#include "kit/watched_memory.hpp"
#include "shardlab/communication/flatten.hpp"
#include "shardlab/grade/body.hpp"

namespace shardlab::grade {
namespace {

using Tensors = std::vector<at::Tensor>;
using Shapes = std::vector<std::vector<int64_t>>;

/// Cuts tensors of the given shapes out of `flat`; every third one is non-contiguous.
Tensors Cut(const at::Tensor& flat, const Shapes& shapes) {
  Tensors tensors;
  int64_t begin = 0;
  for (size_t i = 0; i < shapes.size(); ++i) {
    int64_t size = 1;
    for (int64_t n : shapes[i]) size *= n;
    const at::Tensor tensor = flat.narrow(0, begin, size).reshape(shapes[i]).clone();
    tensors.push_back(i % 3 == 2 ? Strided(tensor) : tensor);
    begin += size;
  }
  return tensors;
}

}  // namespace

/// Packs and unpacks the pieces of `flat` several times; the first result and how many of the others differ from it.
SHARDLAB_BODY(flatten) {
  const at::Tensor flat = ctx.Input("flat");
  const Tensors tensors = Cut(flat, ctx.Param<Shapes>("shapes"));
  const Tensors copies = Cut(flat, ctx.Param<Shapes>("shapes"));
  const bool may_need_gradients = at::isFloatingType(flat.scalar_type());
  for (const at::Tensor& tensor : tensors) tensor.set_requires_grad(may_need_gradients);
  const Tensors zeros = Cut(at::zeros_like(flat), ctx.Param<Shapes>("shapes"));
  at::Tensor packed, unpacked, as_returned;
  int different = 0;
  for (int i = 0; i < ctx.Param<int>("repeats"); ++i) {
    const at::Tensor p = Flatten(tensors);
    for (const at::Tensor& tensor : zeros) tensor.zero_();
    Unflatten(flat, zeros);
    Tensors rows;
    for (const at::Tensor& tensor : zeros) rows.push_back(tensor.reshape({-1}));
    const at::Tensor u = at::cat(rows);
    if (i == 0) {
      packed = p;
      unpacked = u;
      as_returned = p.detach().clone();
    } else if (!p.equal(packed) || !u.equal(unpacked)) {
      ++different;
    }
  }
  for (const at::Tensor& tensor : zeros) tensor.zero_();
  Flatten(zeros);  // of other numbers: the first result stays
  bool alias = false, unchanged = flat.equal(ctx.Input("flat"));
  for (size_t i = 0; i < tensors.size(); ++i) {
    alias = alias || (tensors[i].numel() > 0 && packed.is_alias_of(tensors[i]));
    unchanged = unchanged && tensors[i].equal(copies[i]) && tensors[i].requires_grad() == may_need_gradients;
  }
  ctx.Number("kept", packed.equal(as_returned));
  ctx.Number("alias", alias);
  ctx.Number("needs_gradient", packed.requires_grad());
  ctx.Number("unchanged", unchanged);
  ctx.Output("packed", as_returned);
  ctx.Output("unpacked", unpacked);
  ctx.Number("different", different);
}

/// 256 tensors of 128 KiB, of which number i holds the number i: one number of each that Flatten packed and Unflatten
/// unpacked, and which share of them other threads than the busiest one read, and wrote.
SHARDLAB_BODY(flatten_threads) {
  // Nothing before this uses threads. A tensor is smaller than what LibTorch's own copy divides among threads.
  constexpr int64_t kTensors = 256, kSide = 128;
  WatchedMemory memory(kTensors * kSide * kSide * sizeof(double) / WatchedMemory::kBlockBytes);
  auto* const numbers = static_cast<double*>(memory.data());
  const at::Tensor rows = at::from_blob(numbers, {kTensors, kSide, kSide}, at::kDouble);
  Tensors tensors;
  for (int64_t i = 0; i < kTensors; ++i) {
    std::fill_n(numbers + i * kSide * kSide, kSide * kSide, static_cast<double>(i));
    // A few are not contiguous, and whoever makes them so in a loop without order stands still meanwhile.
    tensors.push_back(i % 16 == 0 ? rows[i].t() : rows[i]);
  }
  memory.Watch();
  const at::Tensor flat = Flatten(tensors);
  ctx.Number("flatten", memory.ShareOfOthers());
  ctx.Output("packed", flat.slice(0, 0, flat.numel(), kSide * kSide));
  std::fill_n(numbers, rows.numel(), -1.0);
  memory.Watch();
  Unflatten(flat, tensors);
  ctx.Number("unflatten", memory.ShareOfOthers());
  ctx.Output("unpacked", rows.select(2, 0).select(1, 0));
}

}  // namespace shardlab::grade
