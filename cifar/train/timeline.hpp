#pragma once

#include <memory>
#include <string>
#include <vector>

#include "shardlab/comm/communicator.hpp"
#include "shardlab/pipeline/stage.hpp"
#include "shardlab/plan/simulate.hpp"

/// \file
/// When a pipeline computed what: the same picture as the plan's, from the clock.

namespace shardlab::train {

/// Records when the stages of this rank computed.
class Timeline {
 public:
  /// Wraps a stage such that its forwards and backwards are recorded.
  /// \param chunk which one it is.
  std::unique_ptr<Stage> Watch(std::unique_ptr<Stage> stage, int chunk);

  /// Forgets everything: a new step begins.
  void Clear() { spans_.clear(); }
  /// What was recorded since: F, B, I, W and R of this rank; times in seconds of this machine's monotonic clock.
  const std::vector<Span>& spans() const { return spans_; }
  /// Adds one.
  void Add(const Action& action, double begin, double end) { spans_.push_back({action, begin, end}); }

 private:
  std::vector<Span> spans_;
};

/// Brings the spans of all ranks of a pipeline to its rank 0, as a simulation that begins at 0: only micro-batches
/// below `microbatches`. Empty on the other ranks.
Simulation GatherRun(const Timeline& timeline, int microbatches, Communicator& pipe);

/// Both in one file for Perfetto or chrome://tracing, one below the other. Times in seconds.
std::string TraceOfPlanAndRun(const Schedule& schedule, const Simulation& plan, const Simulation& run);

/// A plan or a run with times in seconds, for this terminal, in milliseconds.
/// \param whole the time that takes all of the width, in seconds.
std::string DrawTimes(const Schedule& schedule, Simulation simulation, double whole);

}  // namespace shardlab::train
