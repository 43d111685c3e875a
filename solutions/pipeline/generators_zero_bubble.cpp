#include <algorithm>

#include "shardlab/pipeline/generators.hpp"

// Zero bubble. A backward is two products: I, the gradient of the input, which the stage before waits for, and W, the
// gradient of the weights, which nobody waits for. 1F1B with I in the place of B passes gradients on sooner, and W
// fills what would be a bubble. Three stages, TF = TB = TW; H1 with four micro-batches:
//
//     rank 0   F0 F1 F2       I0 W0 F3 I1 W1 I2 W2 I3 W3
//     rank 1      F0 F1    I0 F2 I1 W0 F3 I2 W1 I3 W2 W3
//     rank 2         F0 I0 F1 I1 F2 I2 W0 F3 I3 W1 W2 W3
//                             (1)
//
// (1) Rank s begins with W when s of them are waiting: it has that many fewer forwards in flight than rank 0, so every
// rank keeps min(m, P) micro-batches until their W. What waits, runs at the end, when 1F1B's rank s has nothing to do.
// With twice the warm-up the bubble at the beginning goes as well. H2 with six micro-batches:
//
//     rank 0   F0 F1 F2 F3 F4 I0 W0 F5 I1 W1 I2 W2 I3 W3 I4 W4 I5 W5
//     rank 1      F0 F1 F2 I0 F3 I1 F4 I2 W0 F5 I3 W1 I4 W2 I5 W3 W4 W5
//     rank 2         F0 I0 F1 I1 F2 I2 F3 I3 F4 I4 W0 F5 I5 W1 W2 W3 W4 W5
//              (2)                             (3)                       (4)
//
// (2) 2(P-s)-1 forwards are as long as the way of the first micro-batch to the last rank and back. (3) Rank s has 2s
// fewer of them than rank 0 and lets 2s W wait: 2P-1 micro-batches are kept everywhere. (4) The ranks end as they
// began, one after the other; the next step can begin likewise.

namespace shardlab {

Schedule ZeroBubbleH1(int stages, int microbatches) {
  Schedule schedule("zb-h1", Layout::Linear(stages), microbatches);
  for (int s = 0; s < stages; ++s) {
    auto& list = schedule.ranks[s];
    const int warm_up = std::min(microbatches, stages - 1 - s);
    const int delay = s;  // (1)
    for (int i = 0; i < warm_up; ++i) list.push_back(Action::Forward(s, i));
    for (int i = 0; i < microbatches; ++i) {
      if (i + warm_up < microbatches) list.push_back(Action::Forward(s, i + warm_up));
      list.push_back(Action::BackwardInput(s, i));
      if (i >= delay) list.push_back(Action::BackwardWeight(s, i - delay));
    }
    for (int i = std::max(0, microbatches - delay); i < microbatches; ++i) {
      list.push_back(Action::BackwardWeight(s, i));
    }
  }
  return schedule;
}

Schedule ZeroBubbleH2(int stages, int microbatches) {
  Schedule schedule("zb-h2", Layout::Linear(stages), microbatches);
  for (int s = 0; s < stages; ++s) {
    auto& list = schedule.ranks[s];
    const int warm_up = std::min(microbatches, 2 * (stages - s) - 1);  // (2)
    const int delay = 2 * s;                                           // (3)
    for (int i = 0; i < warm_up; ++i) list.push_back(Action::Forward(s, i));
    for (int i = 0; i < microbatches; ++i) {
      list.push_back(Action::BackwardInput(s, i));
      if (i >= delay) list.push_back(Action::BackwardWeight(s, i - delay));
      if (i + warm_up < microbatches) list.push_back(Action::Forward(s, i + warm_up));
    }
    for (int i = std::max(0, microbatches - delay); i < microbatches; ++i) {
      list.push_back(Action::BackwardWeight(s, i));
    }
  }
  return schedule;
}

}  // namespace shardlab
