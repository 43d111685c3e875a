#pragma once

#include <vector>

#include "kit/hypotheses.hpp"
#include "kit/image_training.hpp"
#include "shardlab/models/classifiers.hpp"

/// \file
/// Whole models with a layer that is left out, doubled, or put elsewhere: what a parallel model with that mistake
/// computes, in one process.

namespace shardlab::grade {

/// The first step of `plan` repeated with each mistake. Outputs: "logits", "evaluated" (after no training step).
std::vector<MistakenRun> MistakenFirstSteps(const ImageTraining& plan, const Batch& batch, int ranks);

/// The training repeated with each mistake. Outputs: "losses", "param.<name>", "buffer.<name>" (full tensors).
std::vector<MistakenRun> MistakenTrainings(const ImageTraining& plan, const at::Tensor& images,
                                           const at::Tensor& labels, int ranks);

}  // namespace shardlab::grade
