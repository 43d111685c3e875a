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

/// Every entry of `asked` is on the weight version of its schedule's definition, and every STEP takes the gradients of
/// its update's micro-batches and no other. The first wrong entry is named.
void ExpectVersions(PlainCase& t, const std::vector<AskedSchedule>& asked);

/// A policy refuses each of the lists that the body `policy_refusals` has for it.
/// \param whats what is wrong with each.
void ExpectPolicyRefuses(PlainCase& t, const std::string& policy, const std::vector<std::string>& whats);

/// All of `asked` are refused with ScheduleError.
void ExpectRefused(PlainCase& t, const std::vector<AskedSchedule>& asked);

}  // namespace shardlab::grade
