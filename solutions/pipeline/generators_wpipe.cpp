#include <algorithm>

#include <fmt/format.h>

#include "shardlab/pipeline/generators.hpp"
#include "shardlab/pipeline/policies.hpp"

// WPipe: two groups of stages on one round of ranks. Three ranks, chunks 0-2 (group 0, the first half of the model) and
// 3-5 (group 1), two updates of three micro-batches; a backward as long as a forward:
//
//     rank 0   0F0 0F1 0F2 3F0 3F1 3F2         3B0 0F3 3B1 0F4 3B2 0F5 0B0 3F3 0B1 3F4 0B2 3F5 3B3 ...
//     rank 1       1F0 1F1 1F2 4F0 4F1     4B0 4F2 4B1 1F3 4B2 1F4 1B0 1F5 1B1 4F3 1B2 4F4 4B3 4F5 ...
//     rank 2           2F0 2F1 2F2 5F0 5B0 5F1 5B1 5F2 5B2 2F3 2B0 2F4 2B1 2F5 2B2 5F3 5B3 5F4 5B4 ...
//                                     (1)             (2)                     (3)
//
// (1) Warm-up: one round and as many forwards of the second as there are ranks behind, then one backward for one
// forward. (2) Group 1 goes back first. Between its forward and the backward of group 0 there is time for the next
// block's forwards in group 0, which is what fills the bubble. (3) So when a micro-batch of update t enters group 1,
// all of update t-1 has come back there: group 1 always has its newest weights. But group 0 took it in before its own
// backwards of t-1 and used version t-1. One stale half, two versions of that half: 1.5 models in memory where 2BW
// has 2.

namespace shardlab {

Schedule WPipe(int ranks, int microbatches) {
  const int P = ranks;
  Schedule schedule("wpipe", Layout::Looped(P, 2), microbatches);
  if (microbatches % P != 0) {
    throw ScheduleError(fmt::format(
        "wpipe: {} micro-batches on {} ranks: the number of micro-batches must be a multiple of the ranks, such as {}",
        microbatches, P, (microbatches / P + 1) * P));
  }
  const int total = 2 * microbatches;
  for (int rank = 0; rank < P; ++rank) {
    auto& list = schedule.ranks[rank];
    const int warm_up = std::min(total, 2 * P - 1 - rank);  // (1)
    for (int k = 0; k < total + warm_up; ++k) {
      // The k-th forward is in group k / P % 2 of block k / 2P; backwards take the groups in reverse (2).
      if (k < total) list.push_back(Action::Forward(k / P % 2 * P + rank, k / (2 * P) * P + k % P));
      const int b = k - warm_up;
      if (b >= 0) list.push_back(Action::Backward((1 - b / P % 2) * P + rank, b / (2 * P) * P + b % P));
    }
  }
  return schedule;
}

Schedule GroupWeights(Schedule schedule, int microbatches_per_update) {
  const int P = schedule.layout.ranks();
  const int m = microbatches_per_update;
  if (schedule.layout != Layout::Looped(P, 2)) {
    throw ScheduleError(
        fmt::format("wpipe: the layout has to be 'looped {} 2', not '{}'", P, ToString(schedule.layout)));
  }
  if (m < 1 || m % P != 0 || schedule.microbatches % m != 0) {
    throw ScheduleError(fmt::format(
        "wpipe: an update of {} micro-batches, of {} in all, on {} ranks: it has to be a multiple of the ranks and to "
        "divide them all",
        m, schedule.microbatches, P));
  }
  for (auto& list : schedule.ranks) {
    std::vector<Action> out;
    for (Action action : list) {
      if (action.kind == ActionKind::kStep) throw ScheduleError("wpipe: there are steps in the schedule already");
      const int update = action.microbatch / m;
      const bool group_0 = action.chunk < P;
      action.version = group_0 ? std::max(update - 1, 0) : update;  // (3)
      out.push_back(action);
      const bool last = action.microbatch % m == m - 1;
      if (last && GivesWeightGradient(action.kind)) out.push_back(Action::Step(action.chunk, update + 1));
    }
    list = std::move(out);
  }
  return schedule;
}

}  // namespace shardlab
