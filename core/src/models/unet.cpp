#include <ATen/ATen.h>
#include <fmt/format.h>

#include "parts.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/models/sequences.hpp"

namespace shardlab {
namespace {

// Convolution, dropout of whole channels, instance norm, leaky ReLU.
class ConvStep : public Layer {
 public:
  // `stash`: also hands its output over to the skip.
  ConvStep(const Weights& weights, int64_t in, int64_t out, double dropout, uint64_t number, bool stash)
      : conv_(register_module("conv", std::make_shared<Conv>(weights.Of("conv"), in, out, Window::Square(3)))),
        channels_(out),
        dropout_(dropout),
        seed_(weights.options().seed),
        number_(number),
        stash_(stash) {}

  Tensors Forward(const Tensors& x, const MicroBatch& at) override {
    at::Tensor h = conv_->forward(x.at(0));
    if (is_training() && dropout_ > 0) {
      const at::Tensor ones = at::ones({h.size(0), channels_, 1, 1}, h.options());
      h = h * MicroBatchDropout(ones, dropout_, seed_, number_, at);
    }
    h = at::instance_norm(h, {}, {}, {}, {}, /*use_input_stats=*/true, /*momentum=*/0.1, /*eps=*/1e-5, false);
    h = at::leaky_relu(h, 0.01);
    return stash_ ? Tensors{h, h} : Tensors{h};
  }

 private:
  std::shared_ptr<Conv> conv_;
  int64_t channels_;
  double dropout_;
  uint64_t seed_, number_;
  bool stash_;
};

// Twice the image, and the skip of this level beside it. Sides that were odd have lost a row, which is padded.
class UpAndJoin : public Layer {
 public:
  Tensors Forward(const Tensors& x, const MicroBatch&) override {
    const at::Tensor& low = x.at(0);
    const at::Tensor& skip = x.at(1);
    at::Tensor up = at::upsample_nearest2d(low, {2 * low.size(2), 2 * low.size(3)});
    if (up.sizes().slice(2) != skip.sizes().slice(2)) {
      up = at::constant_pad_nd(up, {0, skip.size(3) - up.size(3), 0, skip.size(2) - up.size(2)});
    }
    return {at::cat({up, skip}, 1)};
  }
};

void CheckUNet(const ModelOptions& options, const UNetOptions& unet) {
  RequireSize(options.channels, "channels");
  RequireSize(options.classes, "classes");
  RequireSize(unet.depth, "levels");
  RequireSize(unet.convs, "convolutions a level");
  if (unet.base < 2 || unet.base % 2 != 0) {
    throw ContractError(
        fmt::format("a U-Net's last level has half its first one's channels: an even number, not {}", unet.base));
  }
  if (!(unet.dropout >= 0 && unet.dropout < 1)) {
    throw ContractError(fmt::format("a dropout is 0 or more and below 1, not {}", unet.dropout));
  }
  if (unet.depth > 30 || options.side >> unet.depth < 2) {
    throw ContractError(fmt::format("a U-Net of {} levels needs images with a side of {} or more, not {}", unet.depth,
                                    int64_t{2} << std::min(unet.depth, 30), options.side));
  }
}

}  // namespace

LayerSequence UNet(const ModelOptions& options, const UNetOptions& unet) {
  CheckUNet(options, unet);
  LayerSequence model;
  uint64_t dropouts = 0;
  // As many convolutions as asked for, in -> middle -> ... -> middle -> out.
  const auto convolve = [&](const std::string& name, int64_t in, int64_t middle, int64_t out, const std::string& skip) {
    for (int i = 0; i < unet.convs; ++i) {
      const bool last = i + 1 == unet.convs;
      const int64_t from = i == 0 ? in : middle;
      const int64_t to = last ? out : middle;
      const bool stash = last && !skip.empty();
      model.push_back(
          SpecOf<ConvStep>(options, fmt::format("{}.{}", name, i), from, to, unet.dropout, dropouts++, stash));
      if (stash) model.back().stashes = {skip};
    }
  };
  for (int level = 0; level < unet.depth; ++level) {
    const int64_t out = unet.base << level;
    convolve(fmt::format("encode{}", level), level == 0 ? options.channels : out / 2, out, out,
             fmt::format("skip{}", level));
    model.push_back(
        FunctionSpec(fmt::format("down{}", level), [](const at::Tensor& x) { return at::max_pool2d(x, 2); }));
  }
  const int64_t deepest = unet.base << (unet.depth - 1);
  convolve("bottleneck", deepest, 2 * deepest, deepest, "");
  for (int level = unet.depth - 1; level >= 0; --level) {
    const int64_t out = (unet.base << level) / 2;
    LayerSpec up{fmt::format("up{}", level), [] { return std::make_shared<UpAndJoin>(); }, {}, {}};
    up.pops = {fmt::format("skip{}", level)};
    model.push_back(std::move(up));
    convolve(fmt::format("decode{}", level), 4 * out, out, out, "");
  }
  const auto mean = [](const at::Tensor& x) { return x.mean({2, 3}); };
  model.push_back(ConvSpec(options, "segment", unet.base / 2, options.classes, Window::Square(1), /*with_bias=*/false,
                           unet.per_position ? std::function<at::Tensor(const at::Tensor&)>() : mean));
  return model;
}

}  // namespace shardlab
