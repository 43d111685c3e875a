#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "shardlab/layers/layer.hpp"
#include "shardlab/pipeline/engine.hpp"

/// \file
/// A model of nine small layers with everything in it that could go wrong in a pipeline, and what it must become:
/// trained in one process by code that knows no schedule, no stage and no message.

namespace shardlab::test {

/// conv1, bn1, fc1, drop1, fc2, bn2, fc3, fc4, fc5 in float64: images [B, 1, 4, 4] to 3 classes.
LayerSequence ToyModel();

/// Images and labels of an update.
MiniBatch ToyBatch(int64_t update, int64_t samples);

/// The mean cross-entropy.
LossFunction CrossEntropy();

/// A pipeline of the toy model: even stages, plain SGD.
PipelineSetup ToySetup(const Layout& layout);

/// SGD with momentum, or Adam.
OptimizerFactory MakeSgd(double rate, double momentum = 0.0);
OptimizerFactory MakeAdam(double rate);

/// What training leaves.
struct Trained {
  std::vector<double> losses;                                  ///< of each update
  std::vector<std::pair<std::string, at::Tensor>> parameters;  ///< the newest
  std::vector<std::pair<std::string, at::Tensor>> buffers;     ///< running statistics
};

/// How the reference trains.
struct Reference {
  LayerSequence model = ToyModel();
  std::vector<int> balance;  ///< layers of each stage; matters to `version` alone
  int updates = 1;           ///< how many
  int microbatches = 1;      ///< slices of an update
  int64_t samples = 10;      ///< of an update
  int replicas = 1;          ///< parts of an update's samples that are cut into slices each by itself
  OptimizerFactory optimizer = MakeSgd(0.1);
  double clip_norm = 0;
  std::function<double(int64_t)> learning_rate;
  bool deferred = false;  ///< running statistics of whole mini-batches
  /// The slices of an update that the statistics of whole mini-batches are of; none: all.
  std::set<int> counted_slices;
  int64_t first_update = 0;  ///< of the numbering of batches
  /// Which version stage s computes update t on; none: t.
  std::function<int(int s, int t)> version;
};

/// A reference of so many updates with so many samples each.
Reference Steps(int updates, int64_t samples);

/// Trains by the definition: W(t+1) = W(t) - optimizer(gradient of update t, each stage's weights at its version).
Trained TrainReference(const Reference& reference);

/// Fails the test unless a chunk's parameters and buffers are those of the reference, to `tolerance` of the largest
/// element.
void ExpectSameModule(const StageModule& module, const Trained& reference, const std::string& where,
                      double tolerance = 1e-10);

}  // namespace shardlab::test
