#include <algorithm>
#include <vector>

#include "shardlab/pipeline/policies.hpp"

// One update at the end of every list. A rank of a bidirectional pipeline holds two stages, and so does its mirror
// rank; their gradients are summed across the two before the step, stage by stage. Three ranks, chunks and their
// stages:
//
//     rank 0   chunks 0 5, stages 0 2   ... sum stage 0, sum stage 2
//     rank 1   chunks 1 4, stages 1 1
//     rank 2   chunks 2 3, stages 2 0   ... sum stage 0, sum stage 2      (1)
//
// (1) Both in the order of stages. In the order of chunks rank 2 would begin with stage 2 while rank 0 waits with stage
// 0.

namespace shardlab {

Schedule Flush(Schedule schedule) {
  const Layout& layout = schedule.layout;
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    auto& list = schedule.ranks[rank];
    for (const Action& action : list) {
      if (action.kind == ActionKind::kStep) throw ScheduleError("flush: there are steps in the schedule already");
    }
    std::vector<int> chunks = layout.ChunksOf(rank);
    std::stable_sort(chunks.begin(), chunks.end(),
                     [&](int a, int b) { return layout.chunk(a).stage < layout.chunk(b).stage; });  // (1)
    for (const int chunk : chunks) list.push_back(Action::Step(chunk, 1));
  }
  return schedule;
}

}  // namespace shardlab
