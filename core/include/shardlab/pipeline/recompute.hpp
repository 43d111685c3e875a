#pragma once

#include <vector>

#include "shardlab/base/contract.hpp"
#include "shardlab/pipeline/stage.hpp"

/// \file
/// Contracts: keep the input of a stage instead of everything in between, and run the forward again when the backward
/// comes (checkpointing). One forward more, and a micro-batch in flight costs as little as its boundary.
///
/// The second run must be the first one again. Two things could make it another one: random numbers (dropout of
/// LibTorch draws from a generator with a state), and what a forward changes besides (running statistics, which must
/// not be updated twice).
///
/// Source: arXiv 1604.06174, as used in GPipe, arXiv 1811.06965.

namespace shardlab {

/// The states of all random number generators: the CPU's and every GPU's.
struct RandomState {
  at::Tensor cpu;                ///< of the CPU's generator
  std::vector<at::Tensor> cuda;  ///< of each GPU's
};

/// The states as they are.
SHARDLAB_CONTRACT RandomState SaveRandomState();
/// Makes them what they were.
SHARDLAB_CONTRACT void RestoreRandomState(const RandomState& state);

/// What is kept of a micro-batch between its forward and its recomputation.
struct Checkpoint {
  int number = 0;         ///< the micro-batch's number
  MicroBatch at;          ///< where in training it is
  Tensors inputs;         ///< the inputs of the stage
  StageModule* module{};  ///< the weights
  RandomState random;     ///< before the forward
};

/// Runs a forward and keeps no activation of it.
/// \param checkpoint filled with what RunAgain needs.
/// \returns what `stage.Forward` returns, also as to which outputs want a gradient; the micro-batch is not under way.
SHARDLAB_CONTRACT Tensors ForwardAndForget(Stage& stage, int number, const MicroBatch& at, const Tensors& inputs,
                                           StageModule& module, Checkpoint& checkpoint);

/// Runs the forward of a checkpoint again, with the same random numbers and with `MicroBatch::recomputed` set: then the
/// micro-batch is under way as after an ordinary Forward. The generators are left as they were before the call. It
/// needs no gradient, and so can run while the gradient is on its way.
SHARDLAB_CONTRACT void RunAgain(Stage& stage, const Checkpoint& checkpoint);

}  // namespace shardlab
