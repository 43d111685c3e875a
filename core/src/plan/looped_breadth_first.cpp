#include "shardlab/plan/more_generators.hpp"

// Breadth first. Two ranks, two chunks each, three micro-batches, a backward as long as a forward:
//
//     rank 0   0F0 0F1 0F2 2F0 2F1 2F2     2B2 2B1 2B0 0B2 0B1 0B0
//     rank 1       1F0 1F1 1F2 3F0 3F1 3F2 3B2 3B1 3B0 1B2 1B1 1B0
//                                 (1)
//
// (1) The first micro-batch is back at rank 0 when the last has left it, so the ranks wait no longer than for one chunk:
// the bubble of interleaving. At the turn all m micro-batches of all chunks are alive. In return a chunk's weights are in
// use for m micro-batches on end: where they are sharded along data, they are gathered once.

namespace shardlab {

Schedule LoopedBreadthFirst(int ranks, int chunks_per_rank, int microbatches) {
  Schedule schedule("looped-bfs", Layout::Looped(ranks, chunks_per_rank), microbatches);
  if (chunks_per_rank < 2 && ranks > 1) {
    throw ScheduleError("looped-bfs: a rank needs 2 chunks or more; with 1 use gpipe");
  }
  for (int rank = 0; rank < ranks; ++rank) {
    auto& list = schedule.ranks[static_cast<size_t>(rank)];
    for (int visit = 0; visit < chunks_per_rank; ++visit) {
      for (int i = 0; i < microbatches; ++i) list.push_back(Action::Forward(visit * ranks + rank, i));
    }
    for (int visit = chunks_per_rank - 1; visit >= 0; --visit) {
      for (int i = microbatches - 1; i >= 0; --i) list.push_back(Action::Backward(visit * ranks + rank, i));
    }
  }
  return schedule;
}

}  // namespace shardlab
