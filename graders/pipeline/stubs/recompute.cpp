#include "shardlab/pipeline/recompute.hpp"

// TASK pipeline.recompute: SaveRandomState, RestoreRandomState, ForwardAndForget, RunAgain
//
// Keep the input of a stage instead of its activations, and run the forward again for the backward.
//
//     F    remember the generators, run the forward, drop its graph, keep the inputs
//     ...  other micro-batches draw random numbers
//     R    the generators as they were before F; the forward again, this time keeping the graph; the generators as they
//          were before R
//     B    as ever
//
//  * The second forward must draw the same dropout masks, and afterwards the third micro-batch must draw what it would
//    have drawn without you: save and restore on both sides.
//  * A device's generator: at::globalContext().defaultGenerator(device); lock its mutex(), get_state, set_state. There
//    are torch::cuda::device_count() GPUs.
//  * Whether an output wants a gradient is known only if autograd was on.
//  * MicroBatch::recomputed tells the layers that they have seen this micro-batch before.
//
// Your engine calls ForwardAndForget for the F of a micro-batch that has an R in the list, and RunAgain for the R.
//
// The contract: shardlab/pipeline/recompute.hpp.

#include <torch/torch.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

RandomState SaveRandomState() {
  throw NotImplemented("pipeline.recompute: SaveRandomState (exercises/pipeline/recompute.cpp)");
}

void RestoreRandomState(const RandomState& state) {
  (void)state;
  throw NotImplemented("pipeline.recompute: RestoreRandomState (exercises/pipeline/recompute.cpp)");
}

Tensors ForwardAndForget(Stage& stage, int number, const MicroBatch& at, const Tensors& inputs, StageModule& module,
                         Checkpoint& checkpoint) {
  (void)stage, (void)number, (void)at, (void)inputs, (void)module, (void)checkpoint;
  throw NotImplemented("pipeline.recompute: ForwardAndForget (exercises/pipeline/recompute.cpp)");
}

void RunAgain(Stage& stage, const Checkpoint& checkpoint) {
  (void)stage, (void)checkpoint;
  throw NotImplemented("pipeline.recompute: RunAgain (exercises/pipeline/recompute.cpp)");
}

}  // namespace shardlab
