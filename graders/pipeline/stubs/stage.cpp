#include "shardlab/pipeline/stage.hpp"

// TASK pipeline.stage: MakeStage
//
// The contract is the header above, the figure is in section 3 of the handout. Write a class that derives from Stage,
// with Forward, Backward, Forget and Live; the halves of a backward (BackwardInput, BackwardWeight) stay as Stage has
// them. Before you write:
//
//  * Into which graph would backward go on, if x itself went into the module?
//  * What do you return, so that whoever keeps it keeps no graph, and yet sees whether it wants a gradient?
//  * What has to be kept between Forward and Backward, and what afterwards?
//  * Which of the roots go into torch::autograd::backward(roots, gradients)? A tensor of integers? One whose gradient
//    is undefined? And if no gradients are given at all?
//  * What is returned for an input that no output depends on, and for one that wants no gradient?

#include <torch/torch.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

std::unique_ptr<Stage> MakeStage() { throw NotImplemented("pipeline.stage: MakeStage (exercises/pipeline/stage.cpp)"); }

}  // namespace shardlab
