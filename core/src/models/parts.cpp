#include "parts.hpp"

#include <cmath>
#include <type_traits>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/models/seeded.hpp"

namespace shardlab {
namespace {

using TensorFunction = std::function<at::Tensor(const at::Tensor&)>;

at::Tensor Apply(const TensorFunction& function, const at::Tensor& x) { return function ? function(x) : x; }

// A layer that is one module and what is done before and behind it. The module's parameters are the layer's own: they
// are called "fc1.weight", not "fc1.module.weight".
template <typename M>
class ModuleLayer : public Layer {
 public:
  ModuleLayer(std::shared_ptr<M> module, TensorFunction before, TensorFunction after)
      : module_(std::move(module)), before_(std::move(before)), after_(std::move(after)) {
    for (const auto& item : module_->named_parameters()) register_parameter(item.key(), item.value());
    for (const auto& item : module_->named_buffers()) register_buffer(item.key(), item.value());
  }
  Tensors Forward(const Tensors& x, const MicroBatch& at) override {
    const at::Tensor input = Apply(before_, x.at(0));
    if constexpr (std::is_same_v<M, MicroBatchNorm>) {
      return {Apply(after_, module_->forward(input, at))};
    } else {
      return {Apply(after_, module_->forward(input))};
    }
  }
  void train(bool on = true) override {
    Layer::train(on);
    module_->train(on);
  }

 private:
  std::shared_ptr<M> module_;
  TensorFunction before_, after_;
};

template <typename M>
std::shared_ptr<Layer> AsLayer(std::shared_ptr<M> module, TensorFunction before, TensorFunction after) {
  return std::make_shared<ModuleLayer<M>>(std::move(module), std::move(before), std::move(after));
}

class FunctionLayer : public Layer {
 public:
  explicit FunctionLayer(TensorFunction function) : function_(std::move(function)) {}
  Tensors Forward(const Tensors& x, const MicroBatch&) override { return {function_(x.at(0))}; }

 private:
  TensorFunction function_;
};

}  // namespace

at::Tensor Weights::Draw(at::IntArrayRef shape, const std::string& parameter, int64_t fan_in) const {
  if (options_.device.is_meta()) return Fill(shape, 0);
  return SeededTensor(shape, options_.seed, name_ + "." + parameter, 1.0 / std::sqrt(static_cast<double>(fan_in)),
                      options_.dtype);
}

at::Tensor Weights::Fill(at::IntArrayRef shape, double value) const {
  const auto tensor_options = at::TensorOptions().dtype(options_.dtype).device(options_.device);
  return options_.device.is_meta() ? at::empty(shape, tensor_options) : at::full(shape, value, tensor_options);
}

std::shared_ptr<MicroBatchNorm> Weights::BatchNorm(int64_t channels) const {
  return std::make_shared<MicroBatchNorm>(channels, /*eps=*/1e-5, /*momentum=*/0.1, options_.dtype);
}

Conv::Conv(const Weights& weights, int64_t in, int64_t out, Window window, bool with_bias)
    : window_(std::move(window)) {
  const int64_t fan_in = in * window_.kernel[0] * window_.kernel[1];
  weight_ =
      register_parameter("weight", weights.Draw({out, in, window_.kernel[0], window_.kernel[1]}, "weight", fan_in));
  if (with_bias) bias_ = register_parameter("bias", weights.Draw({out}, "bias", fan_in));
}

at::Tensor Conv::forward(const at::Tensor& x) const {
  return at::conv2d(x, weight_, bias_, window_.stride, window_.padding);
}

Dense::Dense(const Weights& weights, int64_t in, int64_t out) {
  weight_ = register_parameter("weight", weights.Draw({out, in}, "weight", in));
  bias_ = register_parameter("bias", weights.Draw({out}, "bias", in));
}

at::Tensor Dense::forward(const at::Tensor& x) const { return at::linear(x, weight_, bias_); }

LayerNorm::LayerNorm(const Weights& weights, int64_t width, double eps) : eps_(eps) {
  weight_ = register_parameter("weight", weights.Fill({width}, 1));
  bias_ = register_parameter("bias", weights.Fill({width}, 0));
}

at::Tensor LayerNorm::forward(const at::Tensor& x) const {
  return at::layer_norm(x, weight_.sizes(), weight_, bias_, eps_);
}

ConvNorm::ConvNorm(torch::nn::Module& parent, const Weights& weights, const std::string& conv, const std::string& norm,
                   int64_t in, int64_t out, const Window& window)
    : conv_(parent.register_module(conv, std::make_shared<Conv>(weights.Of(conv), in, out, window))),
      norm_(parent.register_module(norm, weights.BatchNorm(out))) {}

LayerSpec FunctionSpec(const std::string& name, TensorFunction function) {
  return {name, [=] { return std::make_shared<FunctionLayer>(function); }, {}, {}};
}

LayerSpec DenseSpec(const ModelOptions& options, const std::string& name, int64_t in, int64_t out,
                    TensorFunction before, TensorFunction after) {
  const Weights weights(options, name);
  return {name, [=] { return AsLayer(std::make_shared<Dense>(weights, in, out), before, after); }, {}, {}};
}

LayerSpec ConvSpec(const ModelOptions& options, const std::string& name, int64_t in, int64_t out, const Window& window,
                   bool with_bias, TensorFunction after) {
  const Weights weights(options, name);
  return {name,
          [=] { return AsLayer(std::make_shared<Conv>(weights, in, out, window, with_bias), TensorFunction(), after); },
          {},
          {}};
}

LayerSpec BatchNormSpec(const ModelOptions& options, const std::string& name, int64_t channels, TensorFunction after) {
  const Weights weights(options, name);
  return {name, [=] { return AsLayer(weights.BatchNorm(channels), TensorFunction(), after); }, {}, {}};
}

LayerSpec LayerNormSpec(const ModelOptions& options, const std::string& name, int64_t width, double eps,
                        TensorFunction after) {
  const Weights weights(options, name);
  return {
      name, [=] { return AsLayer(std::make_shared<LayerNorm>(weights, width, eps), TensorFunction(), after); }, {}, {}};
}

void RequireSize(int64_t size, const std::string& what) {
  if (size < 1) throw ContractError(fmt::format("a model needs {} of at least 1, not {}", what, size));
}

}  // namespace shardlab
