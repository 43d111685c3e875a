#include <algorithm>

#include "shardlab/pipeline/generators.hpp"

// 1F1B: go back as soon as possible. Three stages, four micro-batches:
//
//     rank 0   F0 F1 F2             B0--- F3 B1---    B2---    B3---
//     rank 1      F0 F1       B0--- F2 B1--- F3 B2---    B3---
//     rank 2         F0 B0--- F1 B1--- F2 B2--- F3 B3---
//              (1)               (2)                    (3)
//
// (1) Warm-up: one forward for every stage still to come, so that the last stage finds the next micro-batch when it has
// sent the first one back. (2) Then every backward makes room for one forward: no more than P-s micro-batches are ever
// in flight at stage s, however many there are. (3) The remaining backwards. The bubble is GPipe's; the memory is not.

namespace shardlab {

Schedule OneFOneB(int stages, int microbatches) {
  Schedule schedule("1f1b", Layout::Linear(stages), microbatches);
  for (int s = 0; s < stages; ++s) {
    auto& list = schedule.ranks[s];
    const int warm_up = std::min(microbatches, stages - 1 - s);
    int forwards = 0;
    int backwards = 0;
    while (forwards < warm_up) list.push_back(Action::Forward(s, forwards++));  // (1)
    while (forwards < microbatches) {                                           // (2)
      list.push_back(Action::Forward(s, forwards++));
      list.push_back(Action::Backward(s, backwards++));
    }
    while (backwards < microbatches) list.push_back(Action::Backward(s, backwards++));  // (3)
  }
  return schedule;
}

}  // namespace shardlab
