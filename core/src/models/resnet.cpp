#include <array>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "parts.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/models/sequences.hpp"

//     x --+-- conv1 bn1 ReLU -- conv2 bn2 [ReLU -- conv3 bn3] --(+)-- ReLU --> y
//         |                                                      |
//         +-------------- [downsample: 1x1 conv, norm] ----------+

namespace shardlab {
namespace {

constexpr int64_t kExpansion = 4;  // a bottleneck's output channels over its inner ones

class Block : public Layer {
 public:
  Block(const Weights& weights, int64_t in, int64_t inner, int64_t out, int64_t stride, bool bottleneck) {
    if (bottleneck) {
      convs_ = {{*this, weights, "conv1", "bn1", in, inner, Window::Square(1)},
                {*this, weights, "conv2", "bn2", inner, inner, Window::Square(3, stride)},
                {*this, weights, "conv3", "bn3", inner, out, Window::Square(1)}};
    } else {
      convs_ = {{*this, weights, "conv1", "bn1", in, inner, Window::Square(3, stride)},
                {*this, weights, "conv2", "bn2", inner, out, Window::Square(3)}};
    }
    if (in != out || stride != 1) {
      const auto module = register_module("downsample", std::make_shared<torch::nn::Module>());
      downsample_ = ConvNorm(*module, weights.Of("downsample"), "0", "1", in, out, Window::Square(1, stride));
    }
  }

  Tensors Forward(const Tensors& x, const MicroBatch& at) override {
    at::Tensor h = x.at(0);
    for (size_t i = 0; i < convs_.size(); ++i) {
      h = convs_[i].forward(h, at);
      if (i + 1 < convs_.size()) h = at::relu(h);
    }
    return {at::relu(h + (downsample_ ? downsample_.forward(x[0], at) : x[0]))};
  }

 private:
  std::vector<ConvNorm> convs_;
  ConvNorm downsample_;
};

std::array<int, 4> BlocksOf(int depth) {
  switch (depth) {
    case 18:
      return {2, 2, 2, 2};
    case 50:
      return {3, 4, 6, 3};
    case 101:
      return {3, 4, 23, 3};
    default:
      throw ContractError(fmt::format("a ResNet has 18, 50 or 101 layers, not {}", depth));
  }
}

}  // namespace

LayerSequence ResNet(const ModelOptions& options, int depth, int64_t width) {
  const std::array<int, 4> blocks = BlocksOf(depth);
  const bool bottleneck = depth >= 50;
  RequireSize(options.channels, "channels");
  RequireSize(options.classes, "classes");
  RequireSize(options.side, "a side");
  RequireSize(width, "a width");

  LayerSequence model;
  const bool large = options.side >= kLargeSide;
  model.push_back(ConvSpec(options, "conv1", options.channels, width, large ? Window::Square(7, 2) : Window::Square(3),
                           /*with_bias=*/false));
  model.push_back(BatchNormSpec(options, "bn1", width, [large](const at::Tensor& x) {
    return large ? at::max_pool2d(at::relu(x), 3, 2, 1) : at::relu(x);
  }));
  int64_t in = width;
  for (size_t group = 0; group < blocks.size(); ++group) {
    const int64_t inner = width << group;
    const int64_t out = bottleneck ? inner * kExpansion : inner;
    for (int i = 0; i < blocks[group]; ++i) {
      const int64_t stride = group > 0 && i == 0 ? 2 : 1;
      model.push_back(
          SpecOf<Block>(options, fmt::format("layer{}.{}", group + 1, i), in, inner, out, stride, bottleneck));
      in = out;
    }
  }
  model.push_back(FunctionSpec("avgpool", [](const at::Tensor& x) { return x.mean({2, 3}); }));
  model.push_back(DenseSpec(options, "fc", in, options.classes));
  return model;
}

}  // namespace shardlab
