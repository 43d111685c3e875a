#pragma once

#include <memory>

#include "shardlab/base/contract.hpp"
#include "shardlab/layers/layer.hpp"
#include "shardlab/layers/stage_module.hpp"

/// \file
/// Contract: the forward and the backward of one chunk of the model. A stage knows no ranks, no schedule and no
/// messages: tensors go in, tensors come out, in any order that makes sense.
///
///     Forward(7, ...)     inputs  -->  [ the module ]  -->  outputs          and what backward needs is kept
///     Backward(7, ...)    gradients of the inputs  <--  gradients of the outputs          and it is dropped again
///
/// The graph of a micro-batch begins at its inputs and ends at its outputs: another stage's graph is on another rank.

namespace shardlab {

/// The micro-batches under way in one chunk.
///
/// Micro-batches have numbers of the caller's choice. Several may be under way at once, on different weights.
class Stage {
 public:
  virtual ~Stage() = default;

  /// Runs a micro-batch and keeps what its backward needs.
  /// \param number by which Backward finds it again; not under way yet.
  /// \param inputs those that require a gradient get one. They are left as they are: the graph begins at leaves of its
  ///        own, which share their memory.
  /// \param module stays alive, and its parameters unchanged, until the micro-batch is dropped.
  /// \returns the outputs, outside of the graph; `requires_grad()` says which of them want a gradient in Backward.
  /// \throws ContractError for a number that is under way.
  virtual Tensors Forward(int number, const MicroBatch& at, const Tensors& inputs, StageModule& module) = 0;

  /// Goes back through a micro-batch and drops it. The gradients of the parameters are added to their `grad()`.
  /// \param gradients one for each output: undefined for one that requires none, or on which the loss does not depend.
  ///        Empty for a loss: its gradient is 1.
  /// \returns one for each input: undefined for those that require none; zeros where the outputs do not depend on it.
  /// \throws ContractError for a number that is not under way, or gradients that are not as many as the outputs.
  virtual Tensors Backward(int number, const Tensors& gradients) = 0;

  /// The first half of Backward: the gradients of the inputs. The micro-batch stays under way.
  virtual Tensors BackwardInput(int number, const Tensors& gradients);
  /// The second half: adds the gradients of the parameters to their `grad()`, and drops the micro-batch.
  virtual void BackwardWeight(int number);

  /// Drops a micro-batch without a backward.
  virtual void Forget(int number) = 0;

  /// How many micro-batches are under way.
  virtual int Live() const = 0;
};

/// Makes the stage of a chunk: MakeStage or MakeSplitStage, or one around it that watches.
using StageMaker = std::function<std::unique_ptr<Stage>(int chunk)>;

/// A stage whose backward is whole; its halves throw ContractError.
SHARDLAB_CONTRACT std::unique_ptr<Stage> MakeStage();

/// A stage whose backward can be done in halves, for zero-bubble schedules. Together the halves do the work of one
/// backward, and no more: each layer's gradient of the input, and of the weights, is computed once.
///
///     layer 0 --h1-- layer 1 --h2-- layer 2 --> y
///        dh0 <-(I)-- dh1 <--(I)---- dh2 <--(I)-- dy      BackwardInput stops at the tensors, and keeps dh1, dh2, dy
///        dw0 <-(W)-- dh1    dw1 <-- dh2   dw2 <-- dy     BackwardWeight goes from each into its layer, and no further
///
/// Backward does both, one after the other.
SHARDLAB_CONTRACT std::unique_ptr<Stage> MakeSplitStage();

}  // namespace shardlab
