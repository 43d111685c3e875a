#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include "shardlab/base/split.hpp"

/// \file
/// A model as a pipeline sees it: a sequence of layers that may be cut between any two.
///
///     layer 0 ---> layer 1 ---> layer 2 ---> layer 3          a tuple of tensors on every arrow
///        \_______________________/                            a skip: stashed by layer 0, popped by layer 2
///
/// The sequence is a list of `LayerSpec`s. They say how to make each layer and which skips it has, and hold no weights:
/// every rank knows the whole list and makes only the layers of its own stages, more than once where it needs several
/// versions of their weights.

namespace shardlab {

class BatchStatistics;

/// What travels between two layers: tensors of any dtype, of which some need a gradient and some do not.
using Tensors = std::vector<at::Tensor>;

/// Where in training a forward happens. A layer that treats all samples alike, each by itself, need not look at it.
struct MicroBatch {
  int64_t step = 0;     ///< The update that it is part of, from 0.
  int index = 0;        ///< Which micro-batch of its mini-batch, of those that run through this copy of the model.
  int count = 1;        ///< How many of those there are.
  Range samples{0, 1};  ///< Which samples of the mini-batch.
  int64_t batch = 1;    ///< How many samples the mini-batch has.
  int64_t first = 0;    ///< Which sample of the update the mini-batch begins with; see MiniBatch::first.
  /// B, the samples of the update in all its mini-batches; 0: `batch`, as there is one. See MiniBatch::update_samples.
  int64_t update_samples = 0;
  bool training = true;     ///< Whether a backward will follow; evaluation has none.
  bool recomputed = false;  ///< Whether this forward runs for the second time, so that nothing may be counted again.
  /// Who keeps the running statistics of normalisations; null: each layer, at every micro-batch.
  BatchStatistics* statistics = nullptr;
};

/// One layer of a sequence.
class Layer : public torch::nn::Module {
 public:
  ~Layer() override;

  /// \param x what the layer before returned (the first: the inputs of the model), then the tensors of
  ///          `LayerSpec::pops`, in their order.
  /// \returns what goes to the next layer, then the tensors of `LayerSpec::stashes`, in their order.
  ///
  /// The first dimension of a tensor counts samples. The sizes of what it returns depend on the number of samples
  /// alone. It changes nothing that it was given.
  virtual Tensors Forward(const Tensors& x, const MicroBatch& at) = 0;
};

/// How to make a layer, and what it takes and gives besides its neighbours' tensors.
struct LayerSpec {
  /// The prefix of its parameters' names in the model: "layer1.0" of "layer1.0.conv1.weight". Dots are allowed.
  std::string name;
  /// Makes the layer, with weights that are the same whenever and on whichever rank it is called.
  std::function<std::shared_ptr<Layer>()> make;
  /// Names of tensors that it leaves for a later layer.
  std::vector<std::string> stashes = {};
  /// Names of tensors that an earlier layer left for it.
  std::vector<std::string> pops = {};
  /// Where it is several layers of the model in one, between which the model cannot be cut: their names. Its parameters
  /// then have their names in the model already, "fc1.weight" and "fc2.weight".
  std::vector<std::string> joins = {};
};

/// What a parameter or buffer of a layer is called in the model: with the layer's name in front, unless it joins layers.
std::string NameInModel(const LayerSpec& layer, const std::string& tensor);

/// A model, layer by layer.
using LayerSequence = std::vector<LayerSpec>;

/// The most tensors that travel between two stages.
constexpr int kMostBoundaryTensors = 16;

/// Checks what a layer has returned: between any two layers the model may be cut, so this has to be able to travel.
/// \param layer its name.
/// \param stashes how many of them, at the end, are skips.
/// \throws ContractError that names the layer, unless there is one tensor or more for the next layer and one a skip, all
///         of them defined and dense, and at least one of those for the next layer has elements.
void RequireBoundary(const std::string& layer, const Tensors& returned, size_t stashes = 0);

/// The spec of a layer that needs no class of its own: `forward` on the one tensor between two layers, through
/// `module`, which it has made. For example
///
///     SimpleLayer("fc1", [] { return torch::nn::Linear(8, 4); },
///                 [](auto& fc, const at::Tensor& x) { return at::relu(fc->forward(x)); })
template <typename Make, typename ForwardFunction>
LayerSpec SimpleLayer(std::string name, Make make, ForwardFunction forward) {
  using Holder = decltype(make());
  static_assert(std::is_convertible_v<std::invoke_result_t<ForwardFunction&, Holder&, const at::Tensor&>, at::Tensor>,
                "a SimpleLayer's forward returns one tensor: for several, or for anything else, derive from Layer");
  class Simple final : public Layer {
   public:
    Simple(Holder module, ForwardFunction forward) : module_(std::move(module)), forward_(std::move(forward)) {
      // Under its own names: a parameter is "fc1.weight", not "fc1.module.weight".
      for (const auto& item : module_->named_parameters(false))
        register_parameter(item.key(), item.value(), item.value().requires_grad());
      for (const auto& item : module_->named_buffers(false)) register_buffer(item.key(), item.value());
      for (const auto& item : module_->named_children()) register_module(item.key(), item.value());
    }
    Tensors Forward(const Tensors& x, const MicroBatch&) override { return {forward_(module_, x.at(0))}; }
    void train(bool on = true) override {
      Layer::train(on);
      module_->train(on);
    }

   private:
    Holder module_;
    ForwardFunction forward_;
  };
  return {std::move(name), [make, forward] { return std::make_shared<Simple>(make(), forward); }, {}, {}};
}

/// Dropout (shardlab/autograd/dropout.hpp) of a micro-batch: its slice of the mask that one process draws for the whole
/// mini-batch, of all replicas together, so that it does not depend on how the mini-batch is cut, nor on how often a
/// forward runs.
/// \param layer a number of its own for each dropout of the model.
/// \throws ContractError unless x has as many samples, in its first dimension, as the micro-batch.
at::Tensor MicroBatchDropout(const at::Tensor& x, double p, uint64_t seed, uint64_t layer, const MicroBatch& at);

}  // namespace shardlab
