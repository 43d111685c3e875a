#pragma once

#include <string>

#include "request.hpp"
#include "task.hpp"

/// \file
/// What rank 0 says of a run when it is over, and draws.

namespace shardlab::train {

/// One line: the first and the last loss, the accuracy, how long it took.
void PrintFigures(const std::string& who, const Figures& figures);

/// Draws the learning curve into `request.chart` and says so.
void DrawCurve(const TrainRequest& request, const Figures& mesh);

/// Draws both curves where `request.chart` says so, and says how far they are apart at most.
/// \throws std::runtime_error when float64 was compared and a step's losses differ by more than rounding can.
void ReportComparison(const TrainRequest& request, const Figures& mesh, const Figures& single);

}  // namespace shardlab::train
