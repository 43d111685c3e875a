#pragma once

#include <functional>
#include <string>
#include <vector>

#include "figures.hpp"
#include "shardlab/grade/plain_referee.hpp"
#include "shardlab/plan/schedule.hpp"

/// \file
/// A schedule is right when it is valid and has the figures that its formulas promise: nothing is compared with lists
/// of ours.

namespace shardlab::grade {

/// Calls the generators: the texts that they print, by the order asked; what begins with "error: " was thrown.
std::vector<std::string> AskSchedules(PlainCase& t, const std::vector<AskedSchedule>& asked);

/// "gpipe of 3 stages and 4 micro-batches".
std::string Describe(const AskedSchedule& asked);

/// Parses what the generator printed: a valid list of the layout that is asked for, or the case ends with its table.
Schedule ExpectValid(PlainCase& t, const AskedSchedule& asked, const std::string& text);

/// All of `asked` are valid and take as long as the formula says, for several times of forward and backward.
void ExpectMakespans(PlainCase& t, const std::vector<AskedSchedule>& asked, const Formula& formula);

/// All of `asked` keep as little as the formula says; the last one's figures are shown.
void ExpectFootprints(PlainCase& t, const std::vector<AskedSchedule>& asked, const Formula& formula);

/// All of `asked` are refused with ScheduleError.
void ExpectRefused(PlainCase& t, const std::vector<AskedSchedule>& asked);

}  // namespace shardlab::grade
