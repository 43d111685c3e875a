#include "shardlab/models/classifiers.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/layers/layer.hpp"
#include "shardlab/models/seeded.hpp"
#include "shardlab/models/sequences.hpp"

namespace shardlab {
namespace {

void CheckSizes(const ModelOptions& options) {
  const auto check = [](int64_t size, const char* what) {
    if (size < 1) throw ContractError(fmt::format("a model needs {} of at least 1, not {}", what, size));
  };
  check(options.channels, "channels");
  check(options.side, "a side");
  check(options.classes, "classes");
  check(options.dense, "a dense width");
  for (const int64_t size : options.hidden) check(size, "hidden widths");
  for (const int64_t size : options.conv_channels) check(size, "conv_channels");
}

void CheckConvolutional(const ModelOptions& options) {
  CheckSizes(options);
  if (options.conv_channels.size() != 2) {
    throw ContractError(
        fmt::format("this network has 2 convolutions, but conv_channels has {} numbers", options.conv_channels.size()));
  }
  if (options.side % 4 != 0) {
    throw ContractError(fmt::format("two poolings need a side that 4 divides, not {}", options.side));
  }
}

int64_t Pixels(const ModelOptions& options) { return options.channels * options.side * options.side; }

}  // namespace

void ImageClassifier::Prepare(const MicroBatch&) {}

LinearClassifier::LinearClassifier(const ModelOptions& options) {
  CheckSizes(options);
  fc = register_module("fc", torch::nn::Linear(Pixels(options), options.classes));
  ConvertFloatingPoint(*this, options.dtype);
  SeedParameters(*this, options.seed);
}

at::Tensor LinearClassifier::forward(const at::Tensor& x_BCHW) { return fc(x_BCHW.flatten(1)); }

Mlp::Mlp(const ModelOptions& options, bool layer_norm) {
  CheckSizes(options);
  std::vector<int64_t> widths = {Pixels(options)};
  widths.insert(widths.end(), options.hidden.begin(), options.hidden.end());
  widths.push_back(options.classes);
  for (size_t i = 0; i + 1 < widths.size(); ++i) {
    layers.push_back(register_module(fmt::format("fc{}", i + 1), torch::nn::Linear(widths[i], widths[i + 1])));
    if (layer_norm && i + 2 < widths.size()) {
      norms.push_back(register_module(fmt::format("ln{}", i + 1),
                                      torch::nn::LayerNorm(torch::nn::LayerNormOptions({widths[i + 1]}))));
    }
  }
  ConvertFloatingPoint(*this, options.dtype);
  SeedParameters(*this, options.seed);
}

at::Tensor Mlp::forward(const at::Tensor& x_BCHW) {
  at::Tensor h = x_BCHW.flatten(1);
  for (size_t i = 0; i < layers.size(); ++i) {
    h = layers[i](h);
    if (i < norms.size()) h = norms[i](h);
    if (i + 1 < layers.size()) h = at::relu(h);
  }
  return h;
}

LeNet::LeNet(const ModelOptions& options, bool batch_norm) {
  CheckConvolutional(options);
  const auto [first, second] = std::pair(options.conv_channels[0], options.conv_channels[1]);
  const auto convolution = [](int64_t in, int64_t out) {
    return torch::nn::Conv2d(torch::nn::Conv2dOptions(in, out, /*kernel_size=*/5).padding(2));
  };
  conv1 = register_module("conv1", convolution(options.channels, first));
  if (batch_norm) bn1 = register_module("bn1", torch::nn::BatchNorm2d(first));
  conv2 = register_module("conv2", convolution(first, second));
  if (batch_norm) bn2 = register_module("bn2", torch::nn::BatchNorm2d(second));
  const int64_t quarter = options.side / 4;
  fc1 = register_module("fc1", torch::nn::Linear(second * quarter * quarter, options.dense));
  fc2 = register_module("fc2", torch::nn::Linear(options.dense, options.classes));
  ConvertFloatingPoint(*this, options.dtype);
  SeedParameters(*this, options.seed);
}

at::Tensor LeNet::forward(const at::Tensor& x_BCHW) {
  at::Tensor h = conv1(x_BCHW);
  if (bn1) h = bn1(h);
  h = at::max_pool2d(at::relu(h), 2);
  h = conv2(h);
  if (bn2) h = bn2(h);
  h = at::max_pool2d(at::relu(h), 2);
  return fc2(at::relu(fc1(h.flatten(1))));
}

const std::vector<std::string>& ModelNames() {
  static const std::vector<std::string> names = {"linear", "mlp", "mlp-ln", "cnn", "cnn-bn"};
  return names;
}

void CheckModelOptions(const std::string& name, const ModelOptions& options) {
  if (name == "cnn" || name == "cnn-bn") {
    CheckConvolutional(options);
  } else {
    CheckSizes(options);
  }
}

std::shared_ptr<ImageClassifier> MakeModel(const std::string& name, const ModelOptions& options) {
  if (name == "linear") return std::make_shared<LinearClassifier>(options);
  if (name == "mlp") return std::make_shared<Mlp>(options);
  if (name == "mlp-ln") return std::make_shared<Mlp>(options, /*layer_norm=*/true);
  if (name == "cnn") return std::make_shared<LeNet>(options, /*batch_norm=*/false);
  if (name == "cnn-bn") return std::make_shared<LeNet>(options, /*batch_norm=*/true);
  return std::make_shared<SequenceClassifier>(MakeSequence(name, options));
}

void ConvertFloatingPoint(torch::nn::Module& module, at::ScalarType dtype) {
  if (!at::isFloatingType(dtype)) {
    throw ContractError(fmt::format("a model's parameters cannot be of type {}", at::toString(dtype)));
  }
  const auto convert = [&](at::Tensor tensor) {
    if (tensor.is_floating_point()) tensor.set_data(tensor.to(dtype));
  };
  for (const auto& parameter : module.parameters()) convert(parameter);
  for (const auto& buffer : module.buffers()) convert(buffer);
}

}  // namespace shardlab
