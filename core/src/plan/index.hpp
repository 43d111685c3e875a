#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "shardlab/plan/schedule.hpp"

namespace shardlab {

/// Where an action stands: entry `step` of the list of `rank`.
struct Place {
  int rank = -1;
  int step = -1;
};

/// What an action is, as one number: kind, chunk and micro-batch (for REDUCE_GRAD and STEP: version). The chunk is one
/// of a layout, which has at most 65536.
inline uint64_t Key(const Action& action) {
  const int number = HasMicrobatch(action.kind) ? action.microbatch : action.version;
  return static_cast<uint64_t>(action.kind) << 60 | static_cast<uint64_t>(action.chunk & 0xfffffff) << 32 |
         static_cast<uint32_t>(number);
}

/// A value for each action. Those of micro-batches lie in one array a kind, made when the first of them comes: a long
/// schedule has millions. What is rare, or is in no layout, is hashed.
template <typename T>
class ActionMap {
 public:
  /// \param none what Get returns where nothing was set; nothing else may be equal to it.
  ActionMap(const Layout& layout, int microbatches, T none)
      : chunks_(static_cast<size_t>(layout.chunks())), microbatches_(static_cast<size_t>(microbatches)), none_(none) {}

  T Get(const Action& action) const {
    if (!IsDense(action)) {
      const auto found = rest_.find(Key(action));
      return found == rest_.end() ? none_ : found->second;
    }
    const std::vector<T>& values = dense_[static_cast<size_t>(action.kind)];
    return values.empty() ? none_ : values[Slot(action)];
  }
  void Set(const Action& action, T value) {
    if (!IsDense(action)) {
      rest_[Key(action)] = value;
      return;
    }
    std::vector<T>& values = dense_[static_cast<size_t>(action.kind)];
    if (values.empty()) values.assign(chunks_ * microbatches_, none_);
    values[Slot(action)] = value;
  }

 private:
  bool IsDense(const Action& action) const {
    return HasMicrobatch(action.kind) && action.chunk >= 0 && static_cast<size_t>(action.chunk) < chunks_ &&
           action.microbatch >= 0 && static_cast<size_t>(action.microbatch) < microbatches_;
  }
  size_t Slot(const Action& action) const {
    return static_cast<size_t>(action.chunk) * microbatches_ + static_cast<size_t>(action.microbatch);
  }

  static constexpr size_t kKinds = static_cast<size_t>(ActionKind::kStep) + 1;
  size_t chunks_, microbatches_;
  T none_;
  std::vector<T> dense_[kKinds];
  std::unordered_map<uint64_t, T> rest_;
};

/// Finds actions in a schedule.
class Index {
 public:
  /// An empty one, for the actions of a schedule.
  Index(const Layout& layout, int microbatches) : steps_(layout, microbatches, -1), layout_(layout) {}
  /// Of all actions; of several that are the same, the first.
  explicit Index(const Schedule& schedule) : Index(schedule.layout, schedule.microbatches) {
    for (const auto& list : schedule.ranks) {
      for (int step = 0; step < static_cast<int>(list.size()); ++step) Add(list[static_cast<size_t>(step)], step);
    }
  }

  /// Adds an action of its chunk's rank. Returns false, and changes nothing, where it is already there.
  bool Add(const Action& action, int step) {
    if (Has(action)) return false;
    steps_.Set(action, step);
    return true;
  }

  /// Where it stands. Its chunk is one of the layout.
  std::optional<Place> Find(const Action& action) const {
    const int step = steps_.Get(action);
    if (step < 0) return std::nullopt;
    return Place{layout_.chunk(action.chunk).rank, step};
  }
  bool Has(const Action& action) const { return steps_.Get(action) >= 0; }

 private:
  ActionMap<int> steps_;
  const Layout& layout_;
};

}  // namespace shardlab
