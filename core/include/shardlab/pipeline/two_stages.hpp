#pragma once

#include <functional>

#include <ATen/core/Tensor.h>

#include "shardlab/base/contract.hpp"
#include "shardlab/comm/communicator.hpp"

namespace torch::optim {
class Optimizer;
}

namespace shardlab {

/// Half a model: from a batch of something to a batch of something.
using HalfModel = std::function<at::Tensor(const at::Tensor& x)>;

/// Contract: one training step of a model that two ranks share, by hand. Rank 0 has the first half and the images, rank
/// 1 the second half and the labels.
///
///     rank 0    first half --(1) activation-->                              --> backward --> step
///     rank 1                                   second half, loss, backward --(2) gradient-->    --> step
///
/// (1) The activation travels without its graph: autograd does not reach across ranks. (2) Its gradient travels back,
/// and rank 0 goes on from it. Nothing is parallel yet: one rank works while the other waits.
///
/// \param half this rank's half; its parameters are those of `optimizer`. Called once, in training.
/// \param optimizer of this rank's parameters; stepped once. Old gradients are cleared first.
/// \param data rank 0: the images [B, ...]; rank 1: the labels, int64 [B].
/// \param comm two ranks.
/// \returns on rank 1 the loss, the mean cross-entropy; on rank 0, which does not see it, 0.
/// \throws ContractError unless there are two ranks.
/// Cost: two tensors travel, the activation and its gradient, of any shape that the other rank does not know beforehand
/// (SendTensor and RecvTensor: two messages each). No collective.
SHARDLAB_CONTRACT double TwoStageStep(const HalfModel& half, torch::optim::Optimizer& optimizer, const at::Tensor& data,
                                      Communicator& comm);

}  // namespace shardlab
