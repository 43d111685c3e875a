#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

#include "shardlab/base/contract.hpp"
#include "shardlab/comm/communicator.hpp"

/// \file
/// Contract: gradients that are clipped by their norm, when no rank has all of them.

namespace shardlab {

/// Clips the gradients of a model that lies on several ranks, each of which calls this with its own:
///
///     norm = sqrt(sum of squares of all gradients of all ranks)     gradient *= min(1, max_norm / (norm + 1e-6))
///
/// which is what torch::nn::utils::clip_grad_norm_ does to the model in one process.
///
/// \param gradients of this rank, of any floating dtype and shape, changed in place; perhaps none.
/// \param max_norm above 0.
/// \param counts what the square of each gradient counts in the sum: 1/k for one that lies k times on these ranks, so
///        that all its copies together count once. Empty: each counts 1.
/// \returns the norm before clipping, the same on every rank.
/// Cost: one all-reduce of one float64, and no other message.
SHARDLAB_CONTRACT double ClipGradients(const std::vector<at::Tensor>& gradients, double max_norm, Communicator& comm,
                                       const std::vector<double>& counts = {});

}  // namespace shardlab
