#include "shardlab/pipeline/recompute.hpp"

// TASK pipeline.recompute: SaveRandomState, RestoreRandomState, ForwardAndForget, RunAgain
//
// The contract is the header above, the figure is in section 6 of the handout. Your engine calls ForwardAndForget for
// the F of a micro-batch that has an R in the list, and RunAgain for the R. A device's generator is
// at::globalContext().defaultGenerator(device): lock its mutex(), then get_state and set_state; there are
// torch::cuda::device_count() GPUs. Before you write:
//
//  * The second forward must draw the same dropout mask. What must the micro-batch after it draw?
//  * Whether an output wants a gradient is known only if autograd was on. How do you then drop the graph?
//  * How do the layers know that they have seen this micro-batch before? (MicroBatch::recomputed)

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
