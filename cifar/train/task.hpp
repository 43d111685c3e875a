#pragma once

#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "record.hpp"
#include "request.hpp"
#include "shardlab/cifar/loader.hpp"
#include "shardlab/comm/device_mesh.hpp"
#include "shardlab/models/classifiers.hpp"
#include "shardlab/models/trainer.hpp"

/// \file
/// Everything that all ranks, and the single process that they are compared with, have in common.

namespace shardlab::train {

/// What is trained on what.
struct Task {
  TrainRequest request;
  std::shared_ptr<const cifar::Dataset> train;
  cifar::Normalization normalization;
  Batch test;
  ModelOptions model_options;
  RunRecord record;  ///< of the checkpoint that is resumed, or of no step

  cifar::Loader MakeLoader() const;
  /// Images [B, C, 32, 32] as the model sees them, enlarged where that was asked for.
  at::Tensor Enlarged(const at::Tensor& images) const;
  /// The batch of a step, or the part of it that a replica has.
  Batch BatchOf(cifar::Loader& loader, int64_t step, int replica = 0, int replicas = 1) const;
  /// The share of the test images that a whole model gets right.
  double TestAccuracy(ImageClassifier& model) const;
  /// The number of the run's first step.
  int64_t first_step() const { return record.steps; }
};

/// Whether the model has BatchNorms, whose running statistics somebody has to keep.
bool KeepsStatistics(const Task& task);

/// How it went.
struct Figures {
  std::vector<double> losses;  ///< of every step, those before a resumed checkpoint included
  double accuracy = 0;
  double seconds = 0;
};

}  // namespace shardlab::train
