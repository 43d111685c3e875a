#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>

#include "shardlab/plan/schedule.hpp"

namespace shardlab {

/// Where an action stands: entry `step` of the list of `rank`.
struct Place {
  int rank = 0;
  int step = 0;
};

/// What an action is, as one number: kind, chunk and micro-batch (for REDUCE_GRAD and STEP: version). The chunk is one
/// of a layout, which has at most 65536.
inline uint64_t Key(const Action& action) {
  const int number = HasMicrobatch(action.kind) ? action.microbatch : action.version;
  return static_cast<uint64_t>(action.kind) << 60 | static_cast<uint64_t>(action.chunk & 0xfffffff) << 32 |
         static_cast<uint32_t>(number);
}

/// Finds actions in a schedule, by their keys.
class Index {
 public:
  /// An empty one.
  Index() = default;
  /// Of all actions; of several that are the same, the first.
  explicit Index(const Schedule& schedule) {
    for (int rank = 0; rank < static_cast<int>(schedule.ranks.size()); ++rank) {
      const auto& list = schedule.ranks[static_cast<size_t>(rank)];
      for (int step = 0; step < static_cast<int>(list.size()); ++step) {
        Add(list[static_cast<size_t>(step)], {rank, step});
      }
    }
  }

  /// Adds an action. Returns false, and changes nothing, where it is already there.
  bool Add(const Action& action, Place place) { return places_.emplace(Key(action), place).second; }

  std::optional<Place> Find(const Action& action) const {
    const auto found = places_.find(Key(action));
    if (found == places_.end()) return std::nullopt;
    return found->second;
  }
  bool Has(const Action& action) const { return Find(action).has_value(); }

 private:
  std::unordered_map<uint64_t, Place> places_;
};

}  // namespace shardlab
