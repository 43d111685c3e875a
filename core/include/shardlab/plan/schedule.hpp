#pragma once

#include <string>
#include <vector>

#include "shardlab/plan/action.hpp"
#include "shardlab/plan/layout.hpp"
#include "shardlab/plan/schedule_error.hpp"

/// \file
/// A pipeline schedule is data: for every rank, the list of what it does, in order.
///
/// The life of one, each step a function of its own:
///
///     generator     GPipe(4, 8)            computation only
///        |
///     policy        Flush(...)             weight versions, optimizer steps
///        |
///     passes        AddCommunication(...)  sends and receives; recomputation; sums of gradients
///        |
///     checks        Validate(...)          nothing forgotten, no deadlock
///        |
///     use           the engine, Simulate(...), drawings
///
/// Because it is data it prints (text.hpp), is checked before any process starts (validate.hpp), predicts its own
/// bubble and memory (simulate.hpp), and is drawn (draw.hpp).

namespace shardlab {

/// The lists of all ranks over a layout.
struct Schedule {
  /// An empty schedule.
  /// \throws ScheduleError unless there are 1 to 1,000,000 micro-batches, and at most 4,000,000 pairs of a chunk and a
  /// micro-batch.
  Schedule(std::string name, Layout layout, int microbatches);

  /// What people call it: "1f1b".
  std::string name;
  /// Which chunks there are, and where.
  Layout layout;
  /// How many micro-batches the lists run through, 0 .. microbatches-1: one mini-batch, or several where the schedule
  /// does not flush between them.
  int microbatches;
  /// `ranks[r]` is what rank r does, in order.
  std::vector<std::vector<Action>> ranks;

  /// Whether the lists hold sends and receives, or (as generators make them) computation only.
  bool HasCommunication() const;
  /// Whether any micro-batch has a backward; an evaluation has none.
  bool HasBackward() const;
  /// Whether all gradients of the run are complete before its first STEP: only then is there a time when their norm is
  /// known.
  bool HasFlush() const;
};

bool operator==(const Schedule& a, const Schedule& b);
inline bool operator!=(const Schedule& a, const Schedule& b) { return !(a == b); }

/// Checks that a model of `layers` layers can be cut into the layout's stages with none empty.
/// \throws ScheduleError that says how many stages would do.
void RequireLayers(const Layout& layout, int layers);

}  // namespace shardlab
