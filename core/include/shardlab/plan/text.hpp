#pragma once

#include <string>
#include <string_view>

#include "shardlab/plan/schedule.hpp"

/// \file
/// Schedules as text.
///
/// The own form holds everything; `#` starts a comment and an indented line continues the one before:
///
///     schedule 1f1b
///     layout linear 2
///     micro-batches 3
///     rank 0: 0F0 0F1 0B0 0F2 0B1 0B2
///     rank 1: 1F0 1B0 1F1 1B1 1F2 1B2
///
/// The CSV of PyTorch's pipelining has a line a rank and a cell an action; an empty cell is an idle moment. It knows
/// neither weight versions nor recomputation nor the optimizer's step, and its layout has to be found from who runs
/// what.

namespace shardlab {

/// The own text form. ParseSchedule(FormatSchedule(s)) == s.
std::string FormatSchedule(const Schedule& schedule);

/// Reads the own text form. What the schedule says is not checked: that is Validate's work.
/// \throws ScheduleError that names the line.
Schedule ParseSchedule(std::string_view text);

/// The CSV that PyTorch's PipelineScheduleMulti and _PipelineScheduleRuntime load. Steps are left out: there the
/// optimizer is called after the schedule.
/// \throws ScheduleError for a schedule that it cannot say: with weight versions, steps in between, recomputation or
/// two replicas.
std::string ToPyTorchCsv(const Schedule& schedule);

/// Reads such a CSV: compute-only and with communication, old files (`BW` for a whole backward, B with W for the
/// halves) and new ones; of an overlapped pair `(0F7;7B3)OVERLAP_F_B` the two parts one after the other. UNSHARD and
/// RESHARD, which gather and free sharded weights, are passed over.
/// \throws ScheduleError that names line and cell, or when stages are neither linear, looped nor in a vee.
Schedule FromPyTorchCsv(std::string_view text, const std::string& name = "csv");

/// Reads either form, told apart by the first word.
Schedule ReadSchedule(std::string_view text, const std::string& name = "csv");

}  // namespace shardlab
