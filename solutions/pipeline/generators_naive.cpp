#include "shardlab/pipeline/generators.hpp"

// Naive layer parallelism. Three stages, two micro-batches, a backward twice as long as a forward:
//
//     rank 0   F0                   B0--- F1                   B1---
//     rank 1      F0          B0---          F1          B1---
//     rank 2         F0 B0---                   F1 B1---
//                 (1)                (2)
//
// (1) Every list is F0 B0 F1 B1 ...; the dependencies alone make the work pass from rank to rank. (2) F1 stands behind
// B0 in the first list, so the second micro-batch enters only when the first has come back: one rank works at a time.

namespace shardlab {

Schedule Naive(int stages, int microbatches) {
  Schedule schedule("naive", Layout::Linear(stages), microbatches);
  for (int s = 0; s < stages; ++s) {
    for (int i = 0; i < microbatches; ++i) {
      schedule.ranks[s].push_back(Action::Forward(s, i));
      schedule.ranks[s].push_back(Action::Backward(s, i));
    }
  }
  return schedule;
}

}  // namespace shardlab
