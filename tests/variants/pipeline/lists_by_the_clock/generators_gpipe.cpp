#include <algorithm>

#include "shardlab/pipeline/generators.hpp"

namespace shardlab {

// Forward of micro-batch i at stage s is in tick s + i. The backwards are the forwards in a mirror.
Schedule GPipe(int stages, int microbatches) {
  Schedule schedule("gpipe", Layout::Linear(stages), microbatches);
  const int ticks = stages + microbatches - 1;
  for (int tick = 0; tick < ticks; ++tick) {
    for (int s = 0; s < stages; ++s) {
      const int i = tick - s;
      if (i >= 0 && i < microbatches) schedule.ranks[static_cast<size_t>(s)].push_back(Action::Forward(s, i));
    }
  }
  for (auto& list : schedule.ranks) {
    auto forwards = list;
    std::reverse(forwards.begin(), forwards.end());
    for (const Action& forward : forwards) list.push_back(Action::Backward(forward.chunk, forward.microbatch));
  }
  return schedule;
}

}  // namespace shardlab
