#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <torch/nn/module.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

/// \file
/// The small models that everything parallel is compared with: plain LibTorch modules that know nothing of ranks.
///
/// Dimensions: B images, C channels, H height, W width, K classes. All take x [B, C, H, W] and return logits [B, K].
/// Parameters have the names that SeedParameters draws them by: "fc1.weight", "conv2.bias", ...

namespace shardlab {

struct MicroBatch;

/// What a model is made for; the defaults are CIFAR-10's images.
struct ModelOptions {
  int64_t channels = 3;                          ///< C
  int64_t side = 32;                             ///< H = W; a multiple of 4 for the convolutional models
  int64_t classes = 10;                          ///< K
  std::vector<int64_t> hidden = {128, 64};       ///< Widths of the MLP's hidden layers, first to last; may be empty.
  std::vector<int64_t> conv_channels = {8, 16};  ///< Channels of the convolutions, exactly two.
  int64_t dense = 64;                            ///< Width of the convolutional models' hidden dense layer.
  at::ScalarType dtype = at::kFloat;             ///< Of the parameters, hence of the images: kFloat or kDouble.
  uint64_t seed = 1;                             ///< The weights are a function of this and of their names alone.
  /// Where parameters are made: kCPU; or, for the layers of a sequence only, kMeta, which has shapes and no memory.
  at::Device device = at::kCPU;
};

/// A module from images to logits.
class ImageClassifier : public torch::nn::Module {
 public:
  /// \param x_BCHW images in the parameters' type.
  /// \return logits [B, K].
  virtual at::Tensor forward(const at::Tensor& x_BCHW) = 0;

  /// Says which part of which mini-batch the next forwards in training are of. Only models with dropout look at it.
  virtual void Prepare(const MicroBatch& at);
};

/// One dense layer `fc` on the flattened image: what can be learnt without a hidden unit.
class LinearClassifier : public ImageClassifier {
 public:
  /// \throws ContractError for a size below 1.
  explicit LinearClassifier(const ModelOptions& options);
  at::Tensor forward(const at::Tensor& x_BCHW) override;

  torch::nn::Linear fc{nullptr};  ///< [C*H*W] to [K]
};

/// Dense layers `fc1`, `fc2`, ... with ReLU between them; and, where asked, LayerNorm before each ReLU.
class Mlp : public ImageClassifier {
 public:
  /// \param layer_norm whether each layer but the last is followed by LayerNorm.
  /// \throws ContractError for a size below 1.
  explicit Mlp(const ModelOptions& options, bool layer_norm = false);
  at::Tensor forward(const at::Tensor& x_BCHW) override;

  std::vector<torch::nn::Linear> layers;    ///< layers[i] is registered as "fc<i+1>"
  std::vector<torch::nn::LayerNorm> norms;  ///< norms[i] is registered as "ln<i+1>"; empty without LayerNorm
};

/// A convolutional network in the manner of LeNet-5 (LeCun et al. 1998):
///
///     conv1 5x5 -> [bn1] -> ReLU -> max 2x2 -> conv2 5x5 -> [bn2] -> ReLU -> max 2x2 -> fc1 -> ReLU -> fc2
///
/// Both convolutions keep the image's size (padding 2), both poolings halve it.
class LeNet : public ImageClassifier {
 public:
  /// \param batch_norm whether each convolution is followed by BatchNorm.
  /// \throws ContractError for a size below 1, a side that 4 does not divide, or not exactly two conv_channels.
  LeNet(const ModelOptions& options, bool batch_norm);
  at::Tensor forward(const at::Tensor& x_BCHW) override;

  torch::nn::Conv2d conv1{nullptr};     ///< C to conv_channels[0]
  torch::nn::Conv2d conv2{nullptr};     ///< conv_channels[0] to conv_channels[1]
  torch::nn::BatchNorm2d bn1{nullptr};  ///< empty without BatchNorm
  torch::nn::BatchNorm2d bn2{nullptr};  ///< empty without BatchNorm
  torch::nn::Linear fc1{nullptr};       ///< conv_channels[1] * H/4 * W/4 to dense
  torch::nn::Linear fc2{nullptr};       ///< dense to K
};

/// The small models by name, in the order in which they are listed to people: linear, mlp, mlp-ln, cnn, cnn-bn.
const std::vector<std::string>& ModelNames();

/// Checks the sizes for one of ModelNames(), as its constructor does.
/// \throws ContractError for sizes that do not fit.
void CheckModelOptions(const std::string& name, const ModelOptions& options);

/// Makes a model by name, its weights drawn from options.seed: one of ModelNames(), or any that MakeSequence
/// (shardlab/models/sequences.hpp) makes.
/// \throws UsageError for an unknown name, listing those there are; ContractError as the classes' constructors do.
std::shared_ptr<ImageClassifier> MakeModel(const std::string& name, const ModelOptions& options = {});

/// Converts the floating-point parameters and buffers of `module` to `dtype`, and leaves the others, such as the
/// counter of a BatchNorm, as they are. (Module::to(dtype) converts them all.)
/// \throws ContractError for a type that is not floating-point.
void ConvertFloatingPoint(torch::nn::Module& module, at::ScalarType dtype);

}  // namespace shardlab
