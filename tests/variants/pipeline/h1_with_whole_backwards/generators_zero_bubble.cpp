#include <algorithm>

#include "shardlab/pipeline/generators.hpp"

// As the solution, but stage 0 of H1 goes back in one piece.

namespace shardlab {

Schedule ZeroBubbleH1(int stages, int microbatches) {
  Schedule schedule("zb-h1", Layout::Linear(stages), microbatches);
  for (int s = 0; s < stages; ++s) {
    auto& list = schedule.ranks[s];
    const int warm_up = std::min(microbatches, stages - 1 - s);
    const int delay = s;
    for (int i = 0; i < warm_up; ++i) list.push_back(Action::Forward(s, i));
    for (int i = 0; i < microbatches; ++i) {
      if (i + warm_up < microbatches) list.push_back(Action::Forward(s, i + warm_up));
      if (s == 0) {
        list.push_back(Action::Backward(s, i));
        continue;
      }
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
    const int warm_up = std::min(microbatches, 2 * (stages - s) - 1);
    const int delay = 2 * s;
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
