#include "footprint.hpp"

#include <algorithm>
#include <map>
#include <unordered_map>
#include <vector>

#include "index.hpp"

namespace shardlab {

namespace {

void MeasureActivations(const std::vector<Action>& list, bool trains, const Index& index, Footprint& footprint) {
  int live = 0;
  int live_until_input_gradient = 0;
  int kept = 0;
  int most_live = 0;
  int most_live_until_input_gradient = 0;
  int most_kept = 0;
  for (const Action& action : list) {
    const bool recomputed = index.Has({ActionKind::kRecompute, action.chunk, action.microbatch});
    if (action.kind == ActionKind::kForward && recomputed) ++kept;
    if (action.kind == ActionKind::kRecompute) --kept;
    if (action.kind == ActionKind::kRecompute || (action.kind == ActionKind::kForward && !recomputed)) {
      ++live;
      ++live_until_input_gradient;
    }
    most_kept = std::max(most_kept, kept);
    most_live = std::max(most_live, live);
    most_live_until_input_gradient = std::max(most_live_until_input_gradient, live_until_input_gradient);
    if (GivesInputGradient(action.kind)) --live_until_input_gradient;
    if (GivesWeightGradient(action.kind)) --live;
    if (!trains && action.kind == ActionKind::kForward) {
      --live;  // an evaluation keeps nothing
      --live_until_input_gradient;
    }
  }
  footprint.live.push_back(most_live);
  footprint.live_until_input_gradient.push_back(most_live_until_input_gradient);
  footprint.kept_inputs.push_back(most_kept);
}

// A version is held until its last use, the latest for ever.
void MeasureVersions(const std::vector<Action>& list, Footprint& footprint) {
  struct Held {
    int latest = 0;
    int count = 1;
    std::unordered_map<int, size_t> last_use;  // of each version
  };
  std::map<int, Held> chunks;
  for (size_t step = 0; step < list.size(); ++step) {
    if (IsCompute(list[step].kind)) chunks[list[step].chunk].last_use[list[step].version] = step;
  }
  for (size_t step = 0; step < list.size(); ++step) {
    const Action& action = list[step];
    if (!IsCompute(action.kind) && action.kind != ActionKind::kStep) continue;
    Held& held = chunks[action.chunk];
    if (action.kind == ActionKind::kStep) {
      const auto use = held.last_use.find(held.latest);
      const bool needed = use != held.last_use.end() && use->second > step;  // the one that was the latest
      held.latest = action.version;
      if (needed) ++held.count;
    } else if (action.version != held.latest && held.last_use[action.version] == step) {
      --held.count;
    }
    int& most = footprint.versions[static_cast<size_t>(action.chunk)];
    most = std::max(most, held.count);
  }
}

}  // namespace

Footprint MeasureFootprint(const Schedule& schedule) {
  Footprint footprint;
  footprint.versions.assign(static_cast<size_t>(schedule.layout.chunks()), 1);
  const bool trains = schedule.HasBackward();
  const Index index(schedule);
  for (const auto& list : schedule.ranks) {
    MeasureActivations(list, trains, index, footprint);
    MeasureVersions(list, footprint);
  }
  return footprint;
}

}  // namespace shardlab
