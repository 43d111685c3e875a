#pragma once

#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "shardlab/grade/referee.hpp"

/// \file
/// When a training run on several ranks equals the one in one process.

namespace shardlab::grade {

/// Tensors of a model by their dotted names, as TrainResult has them.
using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

/// How far the loss of each step may lie from the reference's: 1e-10 (step + 1) max(1, |loss|).
std::vector<double> CurveTolerance(const std::vector<double>& reference);

/// |all tensors| / sqrt(how many): the scale of CaseContext::ExpectClose for each of them.
double ScaleOf(const NamedTensors& tensors);

/// The losses that a rank handed back, one a step; the case ends with `missing` when it did not.
std::vector<double> LossesOf(CaseContext& t, const Run& run, int rank, const std::string& output, size_t steps,
                             const std::string& missing);

/// A curve within its tolerance of the reference's. A hypothesis' value is the curve with that mistake.
void ExpectLosses(CaseContext& t, const std::string& name, const std::vector<double>& losses,
                  const std::vector<double>& reference, const std::vector<Hypothesis>& hypotheses);

}  // namespace shardlab::grade
