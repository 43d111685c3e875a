#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include "shardlab/layers/layer.hpp"

namespace shardlab {

/// The mean loss of a micro-batch: a scalar, from what the last layer returns and the micro-batch's targets.
using LossFunction = std::function<at::Tensor(const Tensors& outputs, const at::Tensor& targets)>;

/// What a micro-batch adds to the loss of its mini-batch: a scalar, to be summed over the micro-batches.
using LossShare = std::function<at::Tensor(const Tensors& outputs, const at::Tensor& targets, const MicroBatch& at)>;

/// What each layer of a stage returned, in the graph of one forward: the places where a backward can be cut.
///
/// Each tensor that wants a gradient is a view made for this place: its gradient is what comes from behind the layer,
/// even where the layer hands on what it got, returns a tensor twice, or one besides another that is made of it.
struct StageTrace {
  std::vector<Tensors> returned;  ///< of each layer, and at the end the loss where the stage has one
};

/// The layers of one stage, made: one set of its weights.
///
///     inputs    what the stage before returned, then the skips popped here that an earlier stage stashed
///     outputs   what the next stage gets, then the skips stashed here that a later stage pops
///
/// Skips are in the order of the layers, and as their layer lists them. A skip within the stage does not show.
///
/// The last stage of a model in training takes the targets as well, behind all other inputs, and returns the
/// micro-batch's share of the loss and nothing else.
class StageModule : public torch::nn::Module {
 public:
  /// Makes layers [begin, end) of `model`.
  /// \param loss of the last stage; ignored in others, and in evaluation.
  /// \throws ContractError unless there is at least one layer and all of them exist.
  StageModule(const LayerSequence& model, int begin, int end, LossShare loss = nullptr);

  /// Runs one layer after the other.
  /// \param trace filled with what each returned, when not null.
  /// \throws ContractError when there are too few inputs, a layer returns what is no boundary (RequireBoundary), or the
  ///         loss is not one number.
  Tensors Forward(const Tensors& inputs, const MicroBatch& at, StageTrace* trace = nullptr);

  /// The parameters of each layer: entry l belongs to entry l of a trace. (The loss has none.)
  std::vector<Tensors> LayerParameters() const;
  /// Parameters by their names in the model: "layer1.0.conv1.weight".
  std::vector<std::pair<std::string, at::Tensor>> NamedParameters() const;
  /// Buffers by their names in the model: "bn1.running_mean".
  std::vector<std::pair<std::string, at::Tensor>> NamedBuffers() const;
  /// The skips that come in, in their order among the inputs.
  const std::vector<std::string>& skips_in() const { return skips_in_; }
  /// The skips that go out, in their order among the outputs.
  const std::vector<std::string>& skips_out() const { return skips_out_; }

 private:
  std::vector<LayerSpec> specs_;
  std::vector<std::shared_ptr<Layer>> layers_;
  std::vector<std::string> skips_in_;
  std::vector<std::string> skips_out_;
  LossShare loss_;
};

/// Makes the stage's module anew, with its initial weights: a stage makes one for each weight version that it holds.
using StageFactory = std::function<std::shared_ptr<StageModule>()>;

}  // namespace shardlab
