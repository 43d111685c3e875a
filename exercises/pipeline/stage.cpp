#include "shardlab/pipeline/stage.hpp"

// TASK pipeline.stage: MakeStage
//
// One chunk of the model, and the micro-batches that are under way in it. Write a class that derives from Stage. It
// needs Forward, Backward, Forget and Live; the halves of a backward (BackwardInput, BackwardWeight) stay as Stage has
// them.
//
//     given     x    -- detach -->  leaf --[ module ]--> root    -- detach -->  y     returned
//
// Between a micro-batch's forward and its backward keep both ends of its graph: the leaves and the roots.
//
//  * Forward: a leaf is `x.detach()` that requires a gradient if x does. What is returned has no graph, but says in the
//    same way whether it wants a gradient.
//  * Backward: torch::autograd::backward(roots, gradients), with those roots that require a gradient and have got one.
//    Gradients of the parameters add up by themselves. Those of the inputs are then in the leaves.
//  * No gradients given: the root is a loss, and its gradient is 1.
//  * Afterwards keep nothing: not a tensor, not a graph. 1F1B is only as good as this.
//  * Integer tensors and tensors without gradient go through as well.
//
// The contract: shardlab/pipeline/stage.hpp.

#include <torch/torch.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

std::unique_ptr<Stage> MakeStage() { throw NotImplemented("pipeline.stage: MakeStage (exercises/pipeline/stage.cpp)"); }

}  // namespace shardlab
