#pragma once

#include <string>
#include <string_view>

#include "shardlab/plan/schedule.hpp"

/// \file
/// Schedules as text.
///
/// shardlab's own form holds everything; `#` starts a comment and an indented line continues the one before:
///
///     schedule 1f1b
///     layout linear 2
///     micro-batches 3
///     rank 0: 0F0 0F1 0B0 0F2 0B1 0B2
///     rank 1: 1F0 1B0 1F1 1B1 1F2 1B2
///
/// A pair is one word, `(0F7;7B3)OVERLAP_F_B`.
///
/// The CSV of PyTorch's pipelining has a line a rank and a cell an action; an empty cell is an idle moment. It knows
/// neither weight versions nor recomputation nor the optimizer's step, and its layout has to be found from who runs
/// what.

namespace shardlab {

/// shardlab's text form. ParseSchedule(FormatSchedule(s)) == s, where the name is one line of 1 to 64 characters with no
/// `#` and no space at its ends.
std::string FormatSchedule(const Schedule& schedule);

/// Reads shardlab's text form. What the schedule says is not checked: that is Validate's work.
/// \throws ScheduleError that names the line.
Schedule ParseSchedule(std::string_view text);

/// The CSV that PyTorch's PipelineScheduleMulti and _PipelineScheduleRuntime load. Steps are left out: there the
/// optimizer is called after the schedule.
/// \throws ScheduleError for a schedule that it cannot say: with weight versions, steps in between, recomputation or
/// two replicas.
std::string ToPyTorchCsv(const Schedule& schedule);

/// Reads such a CSV: compute-only and with communication, old files (`BW` for a whole backward, B with W for the
/// halves) and new ones, with pairs. UNSHARD and RESHARD, which gather and free sharded weights, are passed over.
///
/// A stage is on the line that has most of its actions: an action of it on another line is a mistake of that action.
/// \param skipped if given, becomes what was passed over: "2 UNSHARD and 1 RESHARD", or empty
/// \throws ScheduleError that names line and cell, or when stages are neither linear, looped nor in a vee.
/// Cost: linear in the text.
Schedule FromPyTorchCsv(std::string_view text, const std::string& name = "csv", std::string* skipped = nullptr);

/// Reads either form, told apart by the first word.
Schedule ReadSchedule(std::string_view text, const std::string& name = "csv", std::string* skipped = nullptr);

}  // namespace shardlab
