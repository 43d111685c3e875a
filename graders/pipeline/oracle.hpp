#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "kit/hypotheses.hpp"
#include "shardlab/grade/referee.hpp"
#include "shardlab/models/trainer.hpp"
#include "training_plan.hpp"

/// \file
/// What a plan must give, computed in one process by code that knows no schedule, no stage and no message.

namespace shardlab::grade {

/// Samples and targets of all updates, one behind the other.
struct PipelineData {
  at::Tensor images;  ///< float64 [N, ...]
  at::Tensor labels;  ///< int64 [N], or float64 [N, width] for the probe
  std::string source = "random images";
};
/// Random ones of the shape that the plan's model takes.
PipelineData DrawData(CaseContext& t, const TrainingPlan& plan);
/// CIFAR's where its files are, otherwise synthetic ones.
PipelineData DrawCifar(CaseContext& t, const TrainingPlan& plan);

/// What a reference computation may do otherwise: the definition, and mistakes that students make.
struct Definition {
  /// The version that stage s computes update t on; none: t.
  std::function<int(int s, int t)> version = nullptr;
  /// The version that stage s computes a micro-batch of update t on, where they differ; in place of `version`.
  std::function<int(int s, int t, int part)> part_version = nullptr;
  TrainMistakes mistakes;
};

/// What training leaves.
struct Trained {
  std::vector<double> losses;                                  ///< of each update
  std::vector<std::pair<std::string, at::Tensor>> parameters;  ///< the newest
  std::vector<std::pair<std::string, at::Tensor>> changes;     ///< first minus newest, over the learning rate
  std::vector<std::pair<std::string, at::Tensor>> buffers;     ///< running statistics
  std::map<int, at::Tensor> evaluated;                         ///< outputs after update k
};
/// Trains as the plan says.
Trained TrainReference(const TrainingPlan& plan, const PipelineData& data, const Definition& definition = {});

/// The version that the plan's schedule computes on (semantics of weight staleness, from the papers' formulas).
Definition DefinitionOf(const TrainingPlan& plan);

/// Has the ranks train and compares every loss, every parameter and every buffer.
Run ExpectTraining(CaseContext& t, TrainingPlan plan, const PipelineData& data, const FaultSpec& faults = {});

/// One update of plain SGD: the loss and every gradient.
Run ExpectGradients(CaseContext& t, TrainingPlan plan, const PipelineData& data, const FaultSpec& faults = {});

/// A plan for this case: its seed, its ranks, an even balance.
TrainingPlan PlanFor(CaseContext& t, const std::string& model, const std::string& schedule, int microbatches,
                     const std::vector<int64_t>& batches, int chunks = 1);

/// What a run needs: images on the rank of the first chunk and labels on that of the last.
RunSpec SpecOf(const std::string& body, const TrainingPlan& plan, const PipelineData& data);

}  // namespace shardlab::grade
