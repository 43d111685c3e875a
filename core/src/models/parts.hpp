#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include "shardlab/layers/batch_norm.hpp"
#include "shardlab/layers/layer.hpp"
#include "shardlab/models/classifiers.hpp"

/// \file
/// What layers of the large models are put together from. LibTorch's own modules draw their weights from the global
/// generator when they are made; these draw them from the seed and the parameter's name, once, and in the right type.

namespace shardlab {

/// Images of this side and more go through the stem for large images, which makes them smaller by 4 before the first
/// block; smaller ones keep their size.
constexpr int64_t kLargeSide = 64;

/// Draws the parameters of the module called `name`.
class Weights {
 public:
  Weights(const ModelOptions& options, std::string name) : options_(options), name_(std::move(name)) {}

  Weights Of(const std::string& child) const { return {options_, name_ + "." + child}; }
  /// Uniform within 1 / sqrt(fan_in), as SeededLayerWeights draws.
  at::Tensor Draw(at::IntArrayRef shape, const std::string& parameter, int64_t fan_in) const;
  at::Tensor Fill(at::IntArrayRef shape, double value) const;
  std::shared_ptr<MicroBatchNorm> BatchNorm(int64_t channels) const;

  const ModelOptions& options() const { return options_; }

 private:
  ModelOptions options_;
  std::string name_;
};

/// How a convolution moves over the image.
struct Window {
  std::vector<int64_t> kernel{1, 1};
  std::vector<int64_t> stride{1, 1};
  std::vector<int64_t> padding{0, 0};

  /// k x k, padded such that only the stride makes the image smaller.
  static Window Square(int64_t k, int64_t stride = 1) { return {{k, k}, {stride, stride}, {k / 2, k / 2}}; }
};

class Conv : public torch::nn::Module {
 public:
  Conv(const Weights& weights, int64_t in, int64_t out, Window window, bool with_bias = false);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  at::Tensor weight_, bias_;
  Window window_;
};

class Dense : public torch::nn::Module {
 public:
  Dense(const Weights& weights, int64_t in, int64_t out);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  at::Tensor weight_, bias_;
};

class LayerNorm : public torch::nn::Module {
 public:
  LayerNorm(const Weights& weights, int64_t width, double eps);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  at::Tensor weight_, bias_;
  double eps_;
};

/// A convolution and the BatchNorm behind it, registered in `parent` under two names.
class ConvNorm {
 public:
  ConvNorm() = default;
  ConvNorm(torch::nn::Module& parent, const Weights& weights, const std::string& conv, const std::string& norm,
           int64_t in, int64_t out, const Window& window);
  at::Tensor forward(const at::Tensor& x, const MicroBatch& at) const { return norm_->forward(conv_->forward(x), at); }
  explicit operator bool() const { return conv_ != nullptr; }

 private:
  std::shared_ptr<Conv> conv_;
  std::shared_ptr<MicroBatchNorm> norm_;
};

/// A layer made of a class with the constructor L(weights, args...).
template <typename L, typename... Args>
LayerSpec SpecOf(const ModelOptions& options, const std::string& name, Args... args) {
  return {name, [=] { return std::make_shared<L>(Weights(options, name), args...); }, {}, {}};
}

/// A layer without parameters.
LayerSpec FunctionSpec(const std::string& name, std::function<at::Tensor(const at::Tensor&)> function);

/// A dense layer `name`; `before` and `after` are applied around it where they are given.
LayerSpec DenseSpec(const ModelOptions& options, const std::string& name, int64_t in, int64_t out,
                    std::function<at::Tensor(const at::Tensor&)> before = nullptr,
                    std::function<at::Tensor(const at::Tensor&)> after = nullptr);

/// A convolution `name`; `after` is applied behind it where it is given.
LayerSpec ConvSpec(const ModelOptions& options, const std::string& name, int64_t in, int64_t out, const Window& window,
                   bool with_bias, std::function<at::Tensor(const at::Tensor&)> after = nullptr);

/// BatchNorm `name`, and `after` behind it.
LayerSpec BatchNormSpec(const ModelOptions& options, const std::string& name, int64_t channels,
                        std::function<at::Tensor(const at::Tensor&)> after);

/// LayerNorm `name` over the last dimension, and `after` behind it where it is given.
LayerSpec LayerNormSpec(const ModelOptions& options, const std::string& name, int64_t width, double eps,
                        std::function<at::Tensor(const at::Tensor&)> after = nullptr);

/// \throws ContractError unless `size` is at least 1: "a model needs <what> of at least 1, not ...".
void RequireSize(int64_t size, const std::string& what);

}  // namespace shardlab
