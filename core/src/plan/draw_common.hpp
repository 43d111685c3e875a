#pragma once

#include <cmath>
#include <set>
#include <utility>
#include <vector>

#include "index.hpp"
#include "shardlab/plan/simulate.hpp"

namespace shardlab {

/// Which visit of its rank a chunk is: 0 for the first chunk of a rank, 1 for the second...
inline int VisitOf(const Layout& layout, int chunk) { return chunk / layout.ranks(); }

/// The smallest of 1, 2 and 5 times a power of ten that is at least this: how far apart the times of an axis are.
inline double NiceTick(double at_least) {
  const double power = std::pow(10, std::floor(std::log10(at_least)));
  for (const double factor : {1., 2., 5.}) {
    if (power * factor >= at_least * (1 - 1e-9)) return power * factor;
  }
  return power * 10;
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
