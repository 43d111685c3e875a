#include "shardlab/pipeline/two_stages.hpp"

// TASK pipeline.by_hand: TwoStageStep
//
// One training step of a model that two ranks share: rank 0 has the first half and the images, rank 1 the second half
// and the labels.
//
//     rank 0    first half --(1) activation-->                              --> backward --> step
//     rank 1                                   second half, loss, backward --(2) gradient-->    --> step
//
// The loss is at::cross_entropy_loss(outputs, labels), a mean.
//
//  * Rank 1 does not know the shape of what comes: comm.SendTensor and comm.RecvTensor send it along.
//  * What arrives has no graph. What must be said of it, so that backward leaves a gradient for it?
//  * Rank 0 has no loss. From where does its backward go? (at::Tensor::backward takes a gradient.)
//  * Gradients add up: whose old ones are still there?
//
// The contract: shardlab/pipeline/two_stages.hpp.

#include <torch/torch.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

double TwoStageStep(const HalfModel& half, torch::optim::Optimizer& optimizer, const at::Tensor& data,
                    Communicator& comm) {
  (void)half, (void)optimizer, (void)data, (void)comm;
  throw NotImplemented("pipeline.by_hand: TwoStageStep (exercises/pipeline/two_stages.cpp)");
}

}  // namespace shardlab
