#include <algorithm>
#include <unordered_map>
#include <utility>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "shardlab/base/errors.hpp"
#include "tile_tensor.hpp"

// What each operation does on tiles. An operation looks at
//
//     one pixel at a time     it runs on this rank's pixels            relu, +, cat of channels, ...
//     pixels near it          TileOps exchanges what is missing        convolutions, poolings
//     all pixels              TileOps adds up over the ranks           means, BatchNorm
//     no pixel                it is geometry                           slice, pad, upsample
//
// and anything else has no rule, and is refused.

namespace shardlab {

namespace {

void OnPixels(TileCall& call) { call.RunOnPixels(); }

// The image among the first argument, which has to be one: a weight made of tiles is nothing that this knows.
const TiledImage& ImageOf(const TileCall& call) {
  if (!IsTileTensor(call.TensorAt(0))) call.Refuse("the image itself has to be cut, not another argument");
  return call.first().image;
}

TileOps& Ops(const TileCall& call) { return *call.first().ops; }

ImageWindow WindowOf(const std::vector<int64_t>& kernel, const std::vector<int64_t>& stride,
                     const std::vector<int64_t>& padding, const std::vector<int64_t>& dilation,
                     bool ceil_mode = false) {
  const auto along = [&](size_t side) {
    return SlidingWindow{kernel[side], stride[side], padding[side], dilation[side], ceil_mode};
  };
  return {along(0), along(1)};
}

bool Contains(const Range& outer, const Range& inner) {
  return inner.size() <= 0 || (outer.begin <= inner.begin && inner.end <= outer.end);
}

// All outputs that the held pixels are enough for; nothing where some rank lacks pixels for its own.
std::vector<Range> EnoughFor(const TileOps& ops, const SlidingWindow& window, const std::vector<Range>& held,
                             int64_t inputs, const std::vector<Range>& outputs) {
  std::vector<Range> possible;
  for (size_t i = 0; i < outputs.size(); ++i) {
    possible.push_back(outputs[i].size() > 0 ? ops.outputs_within(window, held[i], inputs) : outputs[i]);
    if (!Contains(possible.back(), outputs[i])) return {};
  }
  return possible;
}

// conv2d(input, weight, bias, stride, padding, dilation, groups)
void Conv2d(TileCall& call) {
  const TiledImage& x = ImageOf(call);
  if (!call.arg(4).isList()) call.Refuse("give its padding in numbers");
  const at::Tensor weight = call.TensorAt(1);
  const ImageWindow window = WindowOf({weight.size(2), weight.size(3)}, call.PairAt(3), call.PairAt(4), call.PairAt(5));
  const Tiling outputs = Ops(call).Outputs(window, x.tiling);
  const Tiling computed = ComputedOutputs(Ops(call), x, window, outputs);
  call.Return(
      call.Tiles(Ops(call).Conv2d(x, weight, call.TensorAt(2), window, call.IntAt(6, 1), computed), outputs, computed));
}

// A pooling's arguments 1 to 3: kernel, stride (none: the kernel), padding.
ImageWindow PoolingOf(const TileCall& call, const std::vector<int64_t>& dilation, bool ceil_mode) {
  const std::vector<int64_t> kernel = call.PairAt(1), stride = call.PairAt(2);
  return WindowOf(kernel, stride.empty() ? kernel : stride, call.PairAt(3), dilation, ceil_mode);
}

// max_pool2d(self, kernel_size, stride, padding, dilation, ceil_mode)
void MaxPool2d(TileCall& call) {
  const TiledImage& x = ImageOf(call);
  const ImageWindow window = PoolingOf(call, call.PairAt(4), call.arg(5).toBool());
  const Tiling outputs = Ops(call).Outputs(window, x.tiling);
  const Tiling computed = ComputedOutputs(Ops(call), x, window, outputs);
  call.Return(call.Tiles(Ops(call).MaxPool2d(x, window, computed), outputs, computed));
}

// avg_pool2d(self, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
void AveragePool2d(TileCall& call) {
  const TiledImage& x = ImageOf(call);
  const ImageWindow window = PoolingOf(call, {1, 1}, call.arg(4).toBool());
  const Tiling outputs = Ops(call).Outputs(window, x.tiling);
  const Tiling computed = ComputedOutputs(Ops(call), x, window, outputs);
  call.Return(call.Tiles(Ops(call).AveragePool2d(x, window, call.arg(5).toBool(), call.IntAt(6, 0), computed), outputs,
                         computed));
}

// [B, C]: the mean over the pixels.
at::Tensor MeanOfPixels(const TileCall& call) {
  const TiledImage& x = call.first().image;
  return Ops(call).SumOfPixels(x) / (x.tiling.height() * x.tiling.width());
}

// Which of the dimensions that a reduction names: {2, 3} or {0, 2, 3}, in any order and counted from either end.
enum class Reduced { kPixels, kImagesAndPixels };
Reduced ReducedOf(const TileCall& call) {
  std::vector<int64_t> dims = call.IntsAt(1);
  for (int64_t& dim : dims) dim = dim < 0 ? dim + 4 : dim;
  std::sort(dims.begin(), dims.end());
  if (dims == std::vector<int64_t>{2, 3}) return Reduced::kPixels;
  if (dims == std::vector<int64_t>{0, 2, 3}) return Reduced::kImagesAndPixels;
  call.Refuse("only over the dimensions {2, 3} or {0, 2, 3}");
}

// [C] or [B, C], with the reduced dimensions where they are kept.
at::Tensor Kept(const at::Tensor& reduced, Reduced over, bool keep) {
  if (!keep) return reduced;
  const at::Tensor beside = reduced.unsqueeze(-1).unsqueeze(-1);
  return over == Reduced::kPixels ? beside : beside.unsqueeze(0);
}

// mean.dim(self, dim, keepdim, dtype)
void Mean(TileCall& call) {
  ImageOf(call);
  const Reduced over = ReducedOf(call);
  const at::Tensor mean =
      over == Reduced::kPixels ? MeanOfPixels(call) : Ops(call).Moments(call.first().image, /*over_images=*/true)[0];
  call.Return(Kept(mean, over, call.arg(2).toBool()));
}

// var.dim(self, dim, unbiased, keepdim) and var.correction(self, dim, correction, keepdim)
void Variance(TileCall& call) {
  const TiledImage& x = ImageOf(call);
  const Reduced over = ReducedOf(call);
  const int64_t correction = call.arg(2).isBool()   ? int64_t{call.arg(2).toBool()}
                             : call.arg(2).isNone() ? 1
                                                    : static_cast<int64_t>(call.arg(2).toScalar().toDouble());
  const int64_t images = over == Reduced::kPixels ? 1 : x.values.size(0);
  const double values = static_cast<double>(images * x.tiling.height() * x.tiling.width());
  const at::Tensor biased = Ops(call).Moments(x, over == Reduced::kImagesAndPixels)[1];
  call.Return(Kept(biased * (values / (values - static_cast<double>(correction))), over, call.arg(3).toBool()));
}

// sum.dim_IntList(self, dim, keepdim, dtype)
void Sum(TileCall& call) {
  const TiledImage& x = ImageOf(call);
  if (call.IntsAt(1).size() != 2 || ReducedOf(call) != Reduced::kPixels) call.Refuse("only over the dimensions {2, 3}");
  const at::Tensor sum = Ops(call).SumOfPixels(x);
  call.Return(Kept(sum, Reduced::kPixels, call.arg(2).toBool()));
}

// adaptive_avg_pool2d(self, output_size)
void AdaptiveAveragePool2d(TileCall& call) {
  ImageOf(call);
  if (call.PairAt(1) != std::vector<int64_t>{1, 1}) call.Refuse("only to one pixel");
  call.Return(Kept(MeanOfPixels(call), Reduced::kPixels, true));
}

// (x - mean) / sqrt(var + eps) * weight + bias, where statistics and parameters have dimensions that x has not.
at::Tensor Normalised(const at::Tensor& x, const at::Tensor& mean, const at::Tensor& var, double eps,
                      const at::Tensor& weight, const at::Tensor& bias) {
  const auto beside = [](const at::Tensor& t) {
    return (t.dim() == 1 ? t.unsqueeze(0) : t).unsqueeze(-1).unsqueeze(-1);
  };
  at::Tensor y = (x - beside(mean)) * beside((var + eps).rsqrt());
  if (weight.defined()) y = y * beside(weight);
  return bias.defined() ? y + beside(bias) : y;
}

// batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps, cudnn_enabled)
void BatchNorm(TileCall& call) {
  const TiledImage& x = ImageOf(call);
  const at::Tensor running_mean = call.TensorAt(3), running_var = call.TensorAt(4);
  at::Tensor mean = running_mean, var = running_var;
  if (call.arg(5).toBool()) {
    const at::Tensor moments = Ops(call).Moments(x, /*over_images=*/true);
    mean = moments[0], var = moments[1];
    const double momentum = call.arg(6).toDouble();
    const double values = static_cast<double>(x.values.size(0) * x.tiling.height() * x.tiling.width());
    const at::NoGradGuard no_grad;
    if (running_mean.defined()) running_mean.mul_(1 - momentum).add_(mean, momentum);
    if (running_var.defined()) running_var.mul_(1 - momentum).add_(var, momentum * values / (values - 1));
  }
  call.Return(call.Tiles(Normalised(x.values, mean, var, call.arg(7).toDouble(), call.TensorAt(1), call.TensorAt(2)),
                         x.tiling, x.held));
}

// instance_norm(input, weight, bias, running_mean, running_var, use_input_stats, momentum, eps, cudnn_enabled)
void InstanceNorm(TileCall& call) {
  const TiledImage& x = ImageOf(call);
  if (!call.arg(5).toBool() || call.TensorAt(3).defined())
    call.Refuse("only by the statistics of each image, without running ones");
  const at::Tensor moments = Ops(call).Moments(x, /*over_images=*/false);
  call.Return(call.Tiles(
      Normalised(x.values, moments[0], moments[1], call.arg(7).toDouble(), call.TensorAt(1), call.TensorAt(2)),
      x.tiling, x.held));
}

std::vector<Range> Mapped(std::vector<Range> ranges, const std::function<int64_t(int64_t)>& map) {
  for (Range& range : ranges) range = {map(range.begin), map(range.end)};
  return ranges;
}

// upsample_nearest2d(self, output_size, ...): by whole numbers, so that no pixel needs a neighbour.
void Upsample(TileCall& call) {
  const TiledImage& x = ImageOf(call);
  const std::vector<int64_t> size = call.IntsAt(1);
  const int64_t height = x.tiling.height(), width = x.tiling.width();
  if (size.size() != 2 || size[0] % height != 0 || size[1] % width != 0) {
    call.Refuse(fmt::format("only to a multiple of {} x {} pixels", height, width));
  }
  const int64_t down = size[0] / height, right = size[1] / width;
  const auto larger = [&](const Tiling& tiling) {
    return Tiling{Mapped(tiling.rows, [&](int64_t i) { return i * down; }),
                  Mapped(tiling.columns, [&](int64_t i) { return i * right; })};
  };
  call.Return(
      call.Tiles(x.values.repeat_interleave(down, 2).repeat_interleave(right, 3), larger(x.tiling), larger(x.held)));
}

// slice.Tensor(self, dim, start, end, step): pixels from `start` on, to the end.
void Slice(TileCall& call) {
  const TiledImage& x = ImageOf(call);
  const int64_t dim = call.IntAt(1, 0) < 0 ? call.IntAt(1, 0) + 4 : call.IntAt(1, 0);
  if (dim < 2) return call.RunOnPixels();
  const int64_t size = call.TensorAt(0).size(dim), start = call.IntAt(2, 0);
  if (start < 0 || start >= size || call.IntAt(3, size) < size || call.IntAt(4, 1) != 1) {
    call.Refuse("only from a pixel to the end of the image, and every pixel");
  }
  const auto moved = [&](Tiling tiling) {
    auto& ranges = dim == 2 ? tiling.rows : tiling.columns;
    ranges = Mapped(ranges, [&](int64_t i) { return std::max<int64_t>(i - start, 0); });
    return tiling;
  };
  const Range held = x.held.TileOf(Ops(call).rank()).ranges[static_cast<size_t>(dim - 2)];
  call.Return(call.Tiles(x.values.slice(dim, std::clamp<int64_t>(start - held.begin, 0, held.size())), moved(x.tiling),
                         moved(x.held)));
}

// constant_pad_nd(self, pad, value): behind the image, where the last tile ends.
void Pad(TileCall& call) {
  const TiledImage& x = ImageOf(call);
  std::vector<int64_t> pad = call.IntsAt(1);
  pad.resize(4, 0);
  if (pad[0] != 0 || pad[2] != 0 || pad[1] < 0 || pad[3] < 0)
    call.Refuse("only behind the image, on the right and below");
  if (x.held != x.tiling) call.Refuse("not within a group of fused halos");
  Tiling larger = x.tiling;
  larger.rows.back().end += pad[3];
  larger.columns.back().end += pad[1];
  const Box mine = larger.TileOf(Ops(call).rank());
  call.Return(call.Tiles(
      at::constant_pad_nd(x.values,
                          {0, mine.ranges[1].size() - x.values.size(3), 0, mine.ranges[0].size() - x.values.size(2)},
                          call.arg(2).toScalar()),
      larger));
}

// cat(tensors, dim)
void Concatenate(TileCall& call) {
  const int64_t dim = call.IntAt(1, 0) < 0 ? call.IntAt(1, 0) + 4 : call.IntAt(1, 0);
  if (dim != 1) call.Refuse("only along the channels");
  for (const at::Tensor& tensor : call.arg(0).toTensorVector()) {
    if (!IsTileTensor(tensor)) call.Refuse("all tensors have to be cut, or none");
  }
  call.RunOnPixels();
}

void Dropout(TileCall& call) {
  call.Refuse("each rank would draw other numbers; shardlab::Dropout has one mask for all");
}

void Flatten(TileCall& call) {
  call.Refuse(
      "it needs all pixels on one rank: pool the image to one pixel before, or begin the next stage with this layer");
}

}  // namespace

bool HoldsInputs(const TileOps& ops, const TiledImage& x, const ImageWindow& window, const Tiling& outputs) {
  return !EnoughFor(ops, window.rows, x.held.rows, x.tiling.height(), outputs.rows).empty() &&
         !EnoughFor(ops, window.columns, x.held.columns, x.tiling.width(), outputs.columns).empty();
}

Tiling ComputedOutputs(const TileOps& ops, const TiledImage& x, const ImageWindow& window, const Tiling& outputs) {
  if (!ops.outputs_within || x.held == x.tiling) return outputs;
  const Tiling possible{EnoughFor(ops, window.rows, x.held.rows, x.tiling.height(), outputs.rows),
                        EnoughFor(ops, window.columns, x.held.columns, x.tiling.width(), outputs.columns)};
  return possible.rows.empty() || possible.columns.empty() ? outputs : possible;
}

TileRule FindTileRule(const std::string& name) {
  static const std::unordered_map<std::string, TileRule> rules = [] {
    std::unordered_map<std::string, TileRule> all = {
        {"conv2d", Conv2d},
        {"max_pool2d", MaxPool2d},
        {"avg_pool2d", AveragePool2d},
        {"adaptive_avg_pool2d", AdaptiveAveragePool2d},
        {"batch_norm", BatchNorm},
        {"instance_norm", InstanceNorm},
        {"mean", Mean},
        {"var", Variance},
        {"sum", Sum},
        {"upsample_nearest2d", Upsample},
        {"slice", Slice},
        {"constant_pad_nd", Pad},
        {"cat", Concatenate},
        {"dropout", Dropout},
        {"feature_dropout", Dropout},
        {"flatten", Flatten},
        {"view", Flatten},
        {"reshape", Flatten},
    };
    for (const char* pointwise :
         {"relu",       "relu_",     "leaky_relu", "leaky_relu_", "elu",       "gelu",       "silu",  "silu_",
          "sigmoid",    "tanh",      "hardtanh",   "hardtanh_",   "hardswish", "softplus",   "add",   "add_",
          "sub",        "sub_",      "mul",        "mul_",        "div",       "div_",       "neg",   "abs",
          "square",     "sqrt",      "rsqrt",      "exp",         "log",       "pow",        "clamp", "where",
          "maximum",    "minimum",   "detach",     "alias",       "clone",     "contiguous", "to",    "_to_copy",
          "zeros_like", "ones_like", "empty_like"}) {
      all.emplace(pointwise, OnPixels);
    }
    return all;
  }();
  const auto rule = rules.find(name);
  return rule == rules.end() ? nullptr : rule->second;
}

}  // namespace shardlab
