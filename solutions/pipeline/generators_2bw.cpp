#include <algorithm>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "shardlab/pipeline/policies.hpp"

// PipeDream-2BW: 1F1B without a flush, an update every m micro-batches, and two weight buffers. Two stages, m = 2; each
// action with the weight version that it uses, U a step:
//
//     stage 0   F0@0 F1@0 B0@0 F2@0 B1@0 U1 F3@0 B2@0 F4@1 B3@0 U2 F5@1 B4@1 ...
//     stage 1   F0@0 B0@0 F1@0 B1@0 U1 F2@0 B2@0 F3@0 B3@0 U2 F4@1 B4@1 ...
//                              (1)          (2)
//
// (1) When stage 1 makes version 1, micro-batch 2 is already on its way with version 0. (2) So the whole update that it
// belongs to uses version 0, at every stage: the micro-batches of update t use version t-1, the newest that was
// complete everywhere when the first of them set out. Version t-2 can go as soon as t is there: two buffers are enough.

namespace shardlab {

Schedule DoubleBufferWeights(Schedule schedule, int microbatches_per_update) {
  schedule.name = "2bw";
  const int m = microbatches_per_update;
  if (m < schedule.layout.stages()) {
    throw ScheduleError(
        fmt::format("2bw: an update needs at least as many micro-batches as there are stages, {}, not {}",
                    schedule.layout.stages(), m));
  }
  if (schedule.microbatches % m != 0) {
    throw ScheduleError(fmt::format("2bw: {} micro-batches are not whole updates of {}", schedule.microbatches, m));
  }
  for (auto& list : schedule.ranks) {
    std::vector<Action> out;
    for (Action action : list) {
      if (action.kind == ActionKind::kStep) throw ScheduleError("2bw: there are steps in the schedule already");
      const int update = action.microbatch / m;
      action.version = std::max(update - 1, 0);  // (2)
      out.push_back(action);
      const bool last = action.microbatch % m == m - 1;
      if (last && GivesWeightGradient(action.kind)) out.push_back(Action::Step(action.chunk, update + 1));  // (1)
    }
    list = std::move(out);
  }
  return schedule;
}

}  // namespace shardlab
