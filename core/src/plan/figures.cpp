#include "shardlab/plan/figures.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include <fmt/format.h>

#include "shardlab/plan/simulate.hpp"

namespace shardlab {

namespace {

constexpr double kForwardTime = 1, kBackwardTime = 2;

// Of P ranks with v chunks each and m micro-batches in all.
struct PromisedFigures {
  double makespan = 0;    // 0: no formula holds for these sizes
  std::vector<int> live;  // of each rank; empty: likewise
};

PromisedFigures FiguresOf(const std::string& name, int P, int v, int m) {
  constexpr double tf = kForwardTime, tb = kBackwardTime, t = tf + tb;
  const int n = (m + std::max(1, m / P) - 1) / std::max(1, m / P);  // the largest block of interleaving
  PromisedFigures figures;
  const auto keep = [&](auto live_of) {
    for (int s = 0; s < P; ++s) figures.live.push_back(live_of(s));
  };
  if (name == "naive") {
    figures.makespan = m * P * t;
    keep([&](int) { return 1; });
  } else if (name == "gpipe") {
    figures.makespan = (m + P - 1) * t;
    keep([&](int) { return m; });
  } else if (name == "1f1b" || name == "pipedream" || name == "pipedream-vsync" || name == "2bw") {
    figures.makespan = (m + P - 1) * t;
    keep([&](int s) { return std::min(m, P - s); });
  } else if (name == "interleaved" || name == "interleaved-any") {
    figures.makespan = std::max(m, P) * t + (std::min(m, P) - 1) * t / v;
    if (m >= P) keep([&](int s) { return std::min(m * v, 2 * (P - s - 1) + (v - 1) * n + 1); });
  } else if (name == "looped-bfs") {
    figures.makespan = std::max(m, P) * t + (std::min(m, P) - 1) * t / v;
    keep([&](int) { return m * v; });
  } else if (name == "zb-h1") {
    if (m >= P) figures.makespan = m * t + (P - 1) * tb / 2;
    keep([&](int) { return std::min(m, P); });
  } else if (name == "zb-h2" && m >= 2 * P - 1) {
    figures.makespan = m * t + (P - 1) * tf;
    keep([&](int) { return 2 * P - 1; });
  } else if (name == "interleaved-zb" && m >= P) {
    figures.makespan = m * t + (P - 1) * tb / 2 / v;
    keep([&](int) { return std::min(m * v, (v - 1) * n + P); });
  } else if (name == "zb-v" && m >= 2 * P - 1) {
    figures.makespan = m * t + (P - 1) * tf / 2;
    keep([&](int) { return 2 * P; });
  } else if (name == "dualpipe-v" && m >= 2 * P) {
    figures.makespan = m * t + (P - 1) * (tf + tb / 2) / 2;
    keep([&](int) { return 2 * P + 1; });
  } else if (name == "wpipe") {
    figures.makespan = m * t + (P - 1) * t / 2;
    keep([&](int s) { return std::min(2 * m, 2 * P - s); });
  }
  return figures;
}

}  // namespace

std::string DifferenceFromItsName(const ScheduleTraits& traits, const Schedule& schedule) {
  const int v = schedule.layout.chunks_per_rank();
  const PromisedFigures promised = FiguresOf(traits.name, schedule.layout.ranks(), v, schedule.microbatches);
  const Simulation run = Simulate(schedule, CostModel::Uniform(kForwardTime, kBackwardTime, v));
  if (promised.makespan > 0 && std::abs(run.makespan - promised.makespan) > 1e-6) {
    return fmt::format("with a forward of {} and a backward of {} it takes {:g}, and {} takes {:g}", kForwardTime,
                       kBackwardTime, run.makespan, traits.name, promised.makespan);
  }
  const auto& live = run.footprint.live;
  for (size_t rank = 0; rank < promised.live.size(); ++rank) {
    if (live[rank] == promised.live[rank]) continue;
    return fmt::format("rank {} keeps {} micro-batches{}, and in {} it keeps {}", rank, live[rank],
                       v > 1 ? " of its chunks" : "", traits.name, promised.live[rank]);
  }

  // The order through each chunk: forwards ascend; backwards too, unless the last micro-batch goes back first.
  const bool last_first = traits.name == "gpipe" || traits.name == "looped-bfs";
  std::vector<int> forward(static_cast<size_t>(schedule.layout.chunks()), -1);
  std::vector<int> backward(forward.size(), last_first ? schedule.microbatches : -1);
  for (const auto& list : schedule.ranks) {
    for (const Action& action : list) {
      const bool is_forward = action.kind == ActionKind::kForward;
      if (!is_forward && !GivesInputGradient(action.kind)) continue;
      int& before = (is_forward ? forward : backward)[static_cast<size_t>(action.chunk)];
      const bool descends = last_first && !is_forward;
      if (descends ? action.microbatch > before : action.microbatch < before) {
        return fmt::format("{} comes before {}, and in {} the {} micro-batch goes {} first",
                           ToString({action.kind, action.chunk, before}),
                           ToString({action.kind, action.chunk, action.microbatch}), traits.name,
                           descends ? "last" : "first", is_forward ? "forward" : "back");
      }
      before = action.microbatch;
    }
  }
  return {};
}

}  // namespace shardlab
