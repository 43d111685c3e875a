#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "shardlab/cifar/dataset.hpp"

/// \file
/// Whether a data set is worth training on: easy enough for a small network in a few seconds, too hard for a linear
/// model, and such that a wrong gradient shows in the loss.

namespace shardlab::cifar {

/// How far one model gets on a data set.
struct ModelFigure {
  std::string model;         ///< As MakeModel calls it.
  double test_accuracy = 0;  ///< 0 to 1
  double first_loss = 0;     ///< Of the first step, before any update.
  double last_loss = 0;      ///< Mean of the last ten steps.
  double seconds = 0;        ///< Training and testing.
};

/// Trains a model in float32 (batches of 64, SGD with momentum 0.9 and learning rate 0.02) and tests it.
/// \throws UsageError for an unknown model, ContractError for an empty set or a negative number of steps.
ModelFigure TrainFigure(const std::string& model, const DataSplits& data, int64_t steps, uint64_t seed);

/// What one mistake of distributed training does to the loss.
struct MistakeFigure {
  std::string mistake;         ///< In the words of a report.
  double loss_change = 0;      ///< Largest |loss - right loss| / max(|right loss|, 1) over the steps.
  int64_t first_visible = -1;  ///< First step at which that is above 1e-3; -1 for none.
};

/// Trains the small CNN in float64 as two ranks would with one mistake each, and compares the loss of the whole batch
/// with that of right training: a missing all-reduce of the gradients, their sum where the mean belongs, the bias of a
/// row-parallel layer added on both ranks, and a missing all-reduce in the backward of a column-parallel layer.
std::vector<MistakeFigure> MistakeFigures(const DataSplits& data, int64_t steps, uint64_t seed);

}  // namespace shardlab::cifar
