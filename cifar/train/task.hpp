#pragma once

#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "checkpoint.hpp"
#include "plan.hpp"
#include "shardlab/cifar/loader.hpp"
#include "shardlab/comm/device_mesh.hpp"
#include "shardlab/models/classifiers.hpp"
#include "shardlab/models/trainer.hpp"

/// \file
/// Everything that all ranks, and the single process that they are compared with, have in common.

namespace shardlab::train {

/// What is trained on what.
struct Task {
  Plan plan;
  std::shared_ptr<const cifar::Dataset> train;
  cifar::Normalization normalization;
  Batch test;
  ModelOptions model_options;
  RunRecord record;       ///< of the checkpoint that is resumed, or of no step
  NamedTensors restored;  ///< that checkpoint's tensors, those that this rank may need

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

/// Trains along data and tensor, and saves where that was asked for. Called on all ranks.
Figures TrainOnMesh(const Task& task, DeviceMesh& mesh);

/// What a pipeline does besides training.
struct PipelineFigures {
  Figures figures;
  std::vector<int> balance;
};

/// Trains along data and pipe, and saves where that was asked for. Called on all ranks; rank 0 prints how the model was
/// cut, and plan and run of a step.
PipelineFigures TrainOnPipeline(const Task& task, DeviceMesh& mesh);

/// Trains all steps in this process, on the same parts of every batch.
/// \param balance layers of each stage; matters to asynchronous schedules, whose stages compute on older weights.
Figures TrainInOneProcess(const Task& task, const std::vector<int>& balance);

/// Writes this rank's part and, when all have, the record. Called on all ranks of the mesh; `state` is asked on those
/// that have a part.
void SaveCheckpoint(const Task& task, DeviceMesh& mesh, const std::vector<double>& losses, const NamedTensors& state);

/// Which part of a checkpoint this rank holds; -1 in all replicas but the first.
int PartOf(const DeviceMesh& mesh);

}  // namespace shardlab::train
