#pragma once

#include <memory>
#include <vector>

#include "shardlab/comm/communicator.hpp"
#include "shardlab/pipeline/stage.hpp"
#include "shardlab/plan/simulate.hpp"

/// \file
/// When a pipeline computed what: the same as Simulate plans, by the clock.

namespace shardlab {

/// Records when the stages of this rank computed.
class StageTimes {
 public:
  /// Makes the stages of `make`, whose forwards and backwards are recorded here. They may not outlive this.
  StageMaker Watched(StageMaker make);

  /// Forgets everything: a new step begins.
  void Clear() { spans_.clear(); }
  /// What was recorded since: F, B, I, W and R of this rank; times in seconds of this machine's monotonic clock.
  const std::vector<Span>& spans() const { return spans_; }

 private:
  class WatchedStage;
  std::vector<Span> spans_;
};

/// Brings the spans of all ranks of a pipeline to its rank 0, as a simulation that begins at 0: only micro-batches
/// below `microbatches`. Empty on the other ranks.
Simulation GatherRun(const StageTimes& times, int microbatches, Communicator& pipe);

}  // namespace shardlab
