#include "random_schedules.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "shardlab/pipeline/policies.hpp"
#include "shardlab/plan/passes.hpp"

namespace shardlab {

int Pick(Random& random, int from, int to) { return std::uniform_int_distribution<int>(from, to)(random); }

bool Chance(Random& random, int percent) { return Pick(random, 1, 100) <= percent; }

Schedule RandomOrder(Random& random) {
  const int P = Pick(random, 1, 4);
  const Layout layout = [&] {
    switch (Pick(random, 0, 3)) {
      case 0:
        return Layout::Linear(P);
      case 1:
        return Layout::Looped(P, Pick(random, 1, 3));
      case 2:
        return Layout::Vee(P, Pick(random, 1, 3));
      default:
        return Layout::Bidirectional(P);
    }
  }();
  Schedule schedule("random", layout, Pick(random, 1, 5));
  const bool trains = Chance(random, 90);
  std::vector<Action> open;
  for (int i = 0; i < schedule.microbatches; ++i) {
    const bool mirrored = layout.kind() == LayoutKind::kBidirectional && Chance(random, 50);
    open.push_back(Action::Forward(mirrored ? P : 0, i));
  }
  while (!open.empty()) {
    const size_t which = static_cast<size_t>(Pick(random, 0, static_cast<int>(open.size()) - 1));
    const Action now = open[which];
    open.erase(open.begin() + static_cast<std::ptrdiff_t>(which));
    const Chunk& chunk = layout.chunk(now.chunk);
    schedule.ranks[static_cast<size_t>(chunk.rank)].push_back(now);
    const auto backward = [&](int c) {
      open.push_back(Chance(random, 50) ? Action::Backward(c, now.microbatch)
                                        : Action::BackwardInput(c, now.microbatch));
    };
    if (now.kind == ActionKind::kForward) {
      if (chunk.next >= 0) {
        open.push_back(Action::Forward(chunk.next, now.microbatch));
      } else if (trains) {
        backward(now.chunk);
      }
    } else if (now.kind != ActionKind::kBackwardWeight) {
      if (now.kind == ActionKind::kBackwardInput) open.push_back(Action::BackwardWeight(now.chunk, now.microbatch));
      if (chunk.previous >= 0) backward(chunk.previous);
    }
  }
  return schedule;
}

Schedule RandomSchedule(Random& random) {
  Schedule schedule = RandomOrder(random);
  const bool trains = schedule.HasBackward();
  const bool mirrored = schedule.layout.kind() == LayoutKind::kBidirectional;
  if (trains && Chance(random, 60)) {
    schedule = !mirrored && Chance(random, 50) ? StashWeights(schedule) : Flush(schedule);
    if (mirrored || Chance(random, 50)) schedule = AddGradientReduction(schedule);
  }
  if (trains && Chance(random, 30)) schedule = AddRecompute(schedule, Recompute::kAlways);
  if (Chance(random, 70)) schedule = AddCommunication(schedule, Pick(random, 0, 2));
  return schedule;
}

void Mutate(Schedule& schedule, Random& random) {
  auto& list = schedule.ranks[static_cast<size_t>(Pick(random, 0, schedule.layout.ranks() - 1))];
  if (list.empty()) return;
  const auto any = [&] { return static_cast<size_t>(Pick(random, 0, static_cast<int>(list.size()) - 1)); };
  const size_t a = any();
  const size_t b = any();
  const auto at = [&](size_t place) { return list.begin() + static_cast<std::ptrdiff_t>(place); };
  const Action action = list[a];
  switch (Pick(random, 0, 11)) {
    case 0:
      list.erase(at(a));
      break;
    case 1:
      list.insert(at(b), action);
      break;
    case 2:
      list[a].version = std::max(0, action.version + Pick(random, -1, 1));
      break;
    case 3:
      list[a].microbatch = action.microbatch < 0 ? -1 : Pick(random, 0, schedule.microbatches - 1);
      break;
    case 4:
      if (IsCompute(action.kind)) list[a].kind = static_cast<ActionKind>(Pick(random, 0, 4));
      break;
    case 5:
      list[a].chunk = Pick(random, 0, schedule.layout.chunks() - 1);
      break;
    case 6:  // a message that is not there yet, which somebody may need or nobody
      list.insert(at(b), {static_cast<ActionKind>(Pick(random, 5, 8)), action.chunk,
                          Pick(random, 0, schedule.microbatches - 1)});
      break;
    case 7:  // another version that is there
      for (Action& other : list) {
        if (IsCompute(other.kind) && other.version > 0 && Chance(random, 20)) {
          --other.version;
          break;
        }
      }
      break;
    case 8:
    case 9:
      std::swap(list[a], list[b]);
      break;
    default: {
      list.erase(at(a));
      list.insert(at(std::min(b, list.size())), action);
    }
  }
}

}  // namespace shardlab
