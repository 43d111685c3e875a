#include "shardlab/pipeline/stage.hpp"

// TASK pipeline.zero_bubble: MakeSplitStage
//
// The contract, with its figure, is the header above. StageModule::Forward fills a StageTrace with what each layer
// returned; LayerParameters says which weights belong to which layer. torch::autograd::grad(outputs, inputs,
// gradients, retain_graph, create_graph, allow_unused) computes what it is asked for and no more. Before you write:
//
//  * At which tensors does the first half stop, and what does it have to keep for the second?
//  * Which of the two may free the graph?
//  * A layer may hand on what it got, or return a tensor twice. Which tensor of the trace has the gradient of which
//    place?
//  * How do you see that nothing is computed twice?

#include <torch/torch.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

std::unique_ptr<Stage> MakeSplitStage() {
  throw NotImplemented("pipeline.zero_bubble: MakeSplitStage (exercises/pipeline/split_stage.cpp)");
}

}  // namespace shardlab
