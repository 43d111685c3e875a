#include "shardlab/pipeline/generators.hpp"

// GPipe: fill the pipeline with forwards, then drain it with backwards. Three stages, four micro-batches:
//
//     rank 0   F0 F1 F2 F3                   B3--- B2--- B1--- B0---
//     rank 1      F0 F1 F2 F3          B3--- B2--- B1--- B0---
//     rank 2         F0 F1 F2 F3 B3--- B2--- B1--- B0---
//                            (1)(2)
//
// (1) At the turn every rank keeps the activations of all m micro-batches. (2) The last micro-batch goes back first:
// its activations are the newest. The bubble, (P-1)(tf+tb) a rank, does not depend on m: more micro-batches make it
// matter less, and cost memory.

namespace shardlab {

Schedule GPipe(int stages, int microbatches) {
  Schedule schedule("gpipe", Layout::Linear(stages), microbatches);
  for (int s = 0; s < stages; ++s) {
    for (int i = 0; i < microbatches; ++i) schedule.ranks[s].push_back(Action::Forward(s, i));
    for (int i = microbatches - 1; i >= 0; --i) schedule.ranks[s].push_back(Action::Backward(s, i));
  }
  return schedule;
}

}  // namespace shardlab
