#include "shardlab/plan/schedule.hpp"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace shardlab {

namespace {

template <typename Predicate>
bool AnyAction(const Schedule& schedule, Predicate predicate) {
  return std::any_of(schedule.ranks.begin(), schedule.ranks.end(), [&](const std::vector<Action>& list) {
    return std::any_of(list.begin(), list.end(), [&](const Action& action) { return predicate(action.kind); });
  });
}

}  // namespace

Schedule::Schedule(std::string its_name, Layout its_layout, int its_microbatches)
    : name(std::move(its_name)),
      layout(std::move(its_layout)),
      microbatches(its_microbatches),
      ranks(static_cast<size_t>(layout.ranks())) {
  constexpr int kMost = 1'000'000;
  if (microbatches < 1 || microbatches > kMost) {
    throw ScheduleError(
        fmt::format("{}: a mini-batch is cut into 1 to {} micro-batches, not {}", name, kMost, microbatches));
  }
  constexpr int kMostPairs = 4'000'000;
  if (microbatches > kMostPairs / layout.chunks()) {
    throw ScheduleError(fmt::format("{}: {} micro-batches through {} chunks are more than {} forwards: use fewer", name,
                                    microbatches, layout.chunks(), kMostPairs));
  }
}

bool Schedule::HasCommunication() const { return AnyAction(*this, IsMessage); }

bool Schedule::HasBackward() const {
  return AnyAction(*this, [](ActionKind kind) { return GivesInputGradient(kind) || GivesWeightGradient(kind); });
}

bool Schedule::HasFlush() const {
  return std::none_of(ranks.begin(), ranks.end(), [](const std::vector<Action>& list) {
    const auto step =
        std::find_if(list.begin(), list.end(), [](const Action& action) { return action.kind == ActionKind::kStep; });
    return std::any_of(step, list.end(), [](const Action& action) { return GivesWeightGradient(action.kind); });
  });
}

bool operator==(const Schedule& a, const Schedule& b) {
  return a.name == b.name && a.layout == b.layout && a.microbatches == b.microbatches && a.ranks == b.ranks;
}

void RequireLayers(const Layout& layout, int layers) {
  if (layout.stages() <= layers) return;
  throw ScheduleError(
      fmt::format("a model of {} layer{} cannot be cut into {} stages without an empty one: use at most {}", layers,
                  layers == 1 ? "" : "s", layout.stages(), std::max(layers, 1)));
}

}  // namespace shardlab
