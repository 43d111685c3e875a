#include "shardlab/pipeline/stage.hpp"

// TASK pipeline.zero_bubble: MakeSplitStage
//
// A stage whose backward comes in halves. First the gradient of the input, for which another rank waits; some time
// later the gradients of the weights, for which nobody waits.
//
//     leaf --[ layer 0 ]-- h0 --[ layer 1 ]-- h1 --[ layer 2 ]-- h2 = root
//
//     I   from the root to leaf, h0, h1:   d(leaf) <--- d(h0) <--- d(h1) <--- d(h2)
//     W   from each h into its layer:      dw0 <- d(h0)   dw1 <- d(h1)   dw2 <- d(h2)
//
// torch::autograd::grad(outputs, inputs, gradients, retain_graph, create_graph, allow_unused) computes what it is asked
// for and no more. StageModule::Forward fills a StageTrace with what each layer returned; LayerParameters says which
// weights belong to which layer.
//
//  * I leaves the graph alive: W needs the same activations.
//  * What a trace holds are views, one for each place: the gradient there is what comes from behind the layer, even
//    where a layer hands on what it got or returns a tensor twice.
//  * Nothing may be computed twice: the two halves together take as long as one backward.
//  * Backward is I, then W.
//
// The contract: shardlab/pipeline/stage.hpp.

#include <torch/torch.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

std::unique_ptr<Stage> MakeSplitStage() {
  throw NotImplemented("pipeline.zero_bubble: MakeSplitStage (exercises/pipeline/split_stage.cpp)");
}

}  // namespace shardlab
