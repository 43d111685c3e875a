#include <vector>

#include "shardlab/pipeline/generators.hpp"

namespace shardlab {

// In each tick a stage goes back if the stage behind has gone back in an earlier one; else it goes forward if the stage
// before has, and if fewer than P - s micro-batches are with it.
Schedule OneFOneB(int stages, int microbatches) {
  Schedule schedule("1f1b", Layout::Linear(stages), microbatches);
  const auto P = static_cast<size_t>(stages);
  std::vector<int> forwards(P, 0), backwards(P, 0);
  for (;;) {
    const std::vector<int> forwards_before = forwards, backwards_before = backwards;
    bool all_done = true;
    for (size_t s = 0; s < P; ++s) {
      const int chunk = static_cast<int>(s);
      const int came_back = s + 1 == P ? forwards_before[s] : backwards_before[s + 1];
      const int arrived = s == 0 ? microbatches : forwards_before[s - 1];
      const bool has_room = forwards[s] - backwards[s] < stages - chunk;
      if (backwards[s] < came_back) {
        schedule.ranks[s].push_back(Action::Backward(chunk, backwards[s]++));
      } else if (forwards[s] < arrived && has_room) {
        schedule.ranks[s].push_back(Action::Forward(chunk, forwards[s]++));
      }
      all_done = all_done && backwards[s] == microbatches;
    }
    if (all_done) return schedule;
  }
}

}  // namespace shardlab
