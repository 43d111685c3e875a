#pragma once

#include <set>
#include <utility>
#include <vector>

#include "index.hpp"
#include "shardlab/plan/simulate.hpp"

namespace shardlab {

/// Which visit of its rank a chunk is: 0 for the first chunk of a rank, 1 for the second...
inline int VisitOf(const Layout& layout, int chunk) { return chunk / layout.ranks(); }

/// What a picture's legend calls it.
inline const char* WordOf(ActionKind kind) {
  switch (kind) {
    case ActionKind::kForward:
      return "forward";
    case ActionKind::kBackward:
      return "backward";
    case ActionKind::kBackwardInput:
      return "gradient of the input";
    case ActionKind::kBackwardWeight:
      return "gradient of the weights";
    default:
      return "recomputation";
  }
}

/// When the number of live micro-batches of a rank changes, and to what; as counted by Footprint::live.
inline std::vector<std::pair<double, int>> LiveOverTime(const Schedule& schedule, const std::vector<Span>& spans) {
  std::set<uint64_t> recomputed;
  for (const Span& span : spans) {
    if (span.action.kind == ActionKind::kRecompute) {
      recomputed.insert(Key(Action::Forward(span.action.chunk, span.action.microbatch)));
    }
  }
  const bool trains = schedule.HasBackward();
  std::vector<std::pair<double, int>> changes{{0.0, 0}};
  int live = 0;
  const auto change = [&](double time, int by) {
    live += by;
    changes.emplace_back(time, live);
  };
  for (const Span& span : spans) {
    const ActionKind kind = span.action.kind;
    if (kind == ActionKind::kRecompute || (kind == ActionKind::kForward && recomputed.count(Key(span.action)) == 0)) {
      change(span.begin, 1);
      if (!trains) change(span.end, -1);
    }
    if (GivesWeightGradient(kind)) change(span.end, -1);
  }
  return changes;
}

}  // namespace shardlab
