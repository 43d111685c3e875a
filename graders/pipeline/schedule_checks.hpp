#pragma once

#include <functional>
#include <string>
#include <vector>

#include "oracle.hpp"
#include "shardlab/pipeline/schedule.hpp"

/// \file
/// A schedule is right when it is valid and has the figures that its formulas promise: nothing is compared with lists
/// of ours.

namespace shardlab::grade {

/// What the formulas say of a schedule for a stage with a forward of `tf` and a backward of `tb`.
struct Figures {
  double makespan = 0;        ///< 0: not checked
  std::vector<int> live;      ///< a rank: micro-batches (of its chunks) whose activations are kept; empty: not checked
  std::vector<int> versions;  ///< a chunk: weight versions held; empty: not checked
  std::vector<double> gaps;   ///< a rank: idle time between its first and last computation; empty: not checked
};
using Formula = std::function<Figures(const AskedSchedule& asked, double tf, double tb)>;

/// Parses what the generator printed: a valid list of the layout that is asked for, or the case ends with its table.
Schedule ExpectValid(CaseContext& t, const AskedSchedule& asked, const std::string& text);

/// All of `asked` are valid and take as long as the formula says, for several times of forward and backward.
void ExpectMakespans(CaseContext& t, const std::vector<AskedSchedule>& asked, const Formula& formula);

/// All of `asked` keep as little as the formula says; the last one's figures are shown.
void ExpectFootprints(CaseContext& t, const std::vector<AskedSchedule>& asked, const Formula& formula);

/// All of `asked` are refused with ScheduleError.
void ExpectRefused(CaseContext& t, const std::vector<AskedSchedule>& asked);

/// Sends that a rank posts between two marks.
struct Traffic {
  int64_t messages = 0;
  int64_t bytes = 0;
  int64_t collectives = 0;
};
/// \param from,to names of marks.
Traffic TrafficBetween(const Run& run, int rank, const std::string& from, const std::string& to);
/// The same over all ranks.
Traffic TotalTraffic(const Run& run, int ranks, const std::string& from, const std::string& to);

}  // namespace shardlab::grade
