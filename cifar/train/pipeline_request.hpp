#pragma once

#include <cstdint>
#include <vector>

#include "request.hpp"
#include "shardlab/layers/layer.hpp"
#include "shardlab/plan/schedule.hpp"

namespace CLI {
class App;
class Option;
}  // namespace CLI

/// \file
/// What `lab train` does along the axis pipe, as data: options, schedules, cuts. No tensor is touched.

namespace shardlab::train {

/// The options of a pipeline on the command line.
class PipelineOptions {
 public:
  void AddTo(CLI::App& app, TrainRequest* request);
  /// Checks what was read: the schedule exists and can have these sizes, the model has enough layers, a balance that
  /// was written by hand fits.
  /// \throws UsageError in one line; whatever a student's generator throws that is no complaint about sizes.
  void Check(TrainRequest* request) const;

 private:
  void CheckNamed(TrainRequest* request) const;

  std::vector<CLI::Option*> options_;
  CLI::Option* micro_batches_ = nullptr;
  CLI::Option* chunks_ = nullptr;
};

/// Whether updates do not wait for a flush: several weight versions are in use, and the run is one schedule.
bool IsAsynchronous(const TrainRequest& request);

/// Whether the schedule has halves of a backward.
bool SplitsBackward(const TrainRequest& request);

/// Into how many parts the model is cut.
int StagesOf(const TrainRequest& request);

/// Micro-batches of an update of `samples` images: as many as asked for, or as many as there are images. (Whole
/// rounds: a multiple of the ranks.)
/// \throws UsageError for fewer samples than ranks where the schedule needs whole rounds.
int MicroBatchesOf(const TrainRequest& request, int64_t samples);

/// The schedule of `updates` updates of `microbatches` each, with steps, reductions, recomputation and messages.
/// Synchronous schedules have one update.
Schedule ScheduleOf(const TrainRequest& request, int microbatches, int updates);

/// Between how many layers the model can be cut: along tensor they are regions (MakeParallelModel), of several layers.
int LayersOf(const TrainRequest& request);

/// Layers of each stage where the request says it, by hand or even; empty where they are to be measured.
std::vector<int> FixedBalance(const TrainRequest& request, int layers);

/// Which weight version stage `stage` computes update `update` on: the definition of an asynchronous schedule.
int VersionOf(const TrainRequest& request, int stage, int update);

}  // namespace shardlab::train
