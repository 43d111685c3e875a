#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "shardlab/plan/schedule.hpp"
#include "shardlab/plan/validate.hpp"

/// \file
/// How long will this schedule take, and who will be idle?

namespace shardlab {

/// What actions cost, in any unit of time.
///
/// Each list has one entry for every stage of the layout, or a single one that holds for all. The defaults are the
/// textbook's: a backward takes twice as long as a forward, half of it for either gradient, and messages take no time.
struct CostModel {
  std::vector<double> forward{1.0};          ///< F, and R.
  std::vector<double> backward_input{1.0};   ///< I. A whole B takes backward_input + backward_weight.
  std::vector<double> backward_weight{1.0};  ///< W.
  /// From stage s to stage s+1 or back: from the moment when send and receive are both posted until the message is
  /// there. Messages do not slow each other down.
  std::vector<double> message{0.0};
  std::vector<double> reduce{0.0};  ///< REDUCE_GRAD, once all ranks are in it.
  std::vector<double> step{0.0};    ///< STEP.
  /// Bytes of the tensors between stage s and stage s+1, for one micro-batch, one way.
  std::vector<int64_t> boundary_bytes{0};

  /// What a pair takes, as a share of what its two parts take one after the other: 1 where nothing is gained, less where
  /// one part computes while the messages inside the other travel.
  double pair = 1.0;

  /// No time and no number of bytes is larger: sums over the longest schedule stay exact enough and do not overflow.
  static constexpr double kMost = 1e12;

  /// What a chunk takes when the P stages of the formulas (tf and tb each) are cut into `chunks_per_rank` chunks a
  /// rank; the backward is split evenly unless `weight_share`, the share of its weight half, says otherwise.
  static CostModel Uniform(double tf, double tb, int chunks_per_rank = 1, double weight_share = 0.5);
};

/// One action on the time line.
struct Span {
  Action action;     ///< Which one.
  double begin = 0;  ///< When it starts.
  double end = 0;    ///< When it is done.
};

/// Whether spans k-1 and k of a rank are a pair that ran as one; the time of both is then that of either.
inline bool ClosesPair(const std::vector<Span>& spans, size_t k) {
  return k > 0 && spans[k - 1].action.opens_pair && spans[k - 1].begin == spans[k].begin &&
         spans[k - 1].end == spans[k].end;
}

/// One message on the time line.
struct MessageSpan {
  Action send;       ///< The action that starts it.
  int from = 0;      ///< The rank that sends.
  int to = 0;        ///< The rank that receives.
  double begin = 0;  ///< When send and receive are both posted.
  double end = 0;    ///< When it is there.
};

/// What Simulate found.
struct Simulation {
  /// For each rank all its actions, in order. The two of a pair have the same begin and end.
  std::vector<std::vector<Span>> ranks;
  /// All messages.
  std::vector<MessageSpan> messages;
  /// How many bytes all messages have together.
  int64_t bytes = 0;
  /// When the last action ends; the first begins at 0.
  double makespan = 0;
  /// The share of all ranks' time until `makespan` in which they do not compute.
  double bubble = 0;
  /// For each rank, the time in which it computes.
  std::vector<double> busy;
  /// For each rank, its idle time between its first and its last computation.
  std::vector<double> gaps;
  /// What the ranks keep in memory meanwhile.
  Footprint footprint;
};

/// Runs a schedule on the clock. With or without communication in it: without, every receive counts as posted from the
/// start.
/// \throws ScheduleError when the schedule is not valid, or the cost model has a time that is negative or larger than
/// CostModel::kMost, a list of the wrong length, or a share of a pair that is not above 0 and at most 1.
/// Cost: linear in the number of actions.
Simulation Simulate(const Schedule& schedule, const CostModel& costs = {}, const RunRules& rules = {});

}  // namespace shardlab
