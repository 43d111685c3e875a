#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "request.hpp"

/// \file
/// The part of a checkpoint (checkpoint.hpp) that needs no LibTorch: what was trained, and whether a run can go on from
/// it.

namespace shardlab::train {

/// run.json.
struct RunRecord {
  std::string model, data, optimizer, dtype;
  int64_t image = 0;
  int64_t batch = 0;
  uint64_t seed = 0;
  bool augment = false;
  double learning_rate = 0;
  double clip = 0;
  int parts = 1;               ///< files
  int64_t steps = 0;           ///< done
  std::vector<double> losses;  ///< of these steps
};

/// The record of a run as planned, before its first step.
RunRecord RecordOf(const TrainRequest& request);

/// Reads FOLDER/run.json. No LibTorch.
/// \throws UsageError in one line when there is no checkpoint, or the file is damaged.
RunRecord ReadRecord(const std::string& folder);

/// \throws UsageError in one line unless a run with this request can go on from the checkpoint: it names the option that
/// differs and what the checkpoint has.
void RequireFits(const std::string& folder, const RunRecord& saved, const TrainRequest& request);

/// Writes run.json, when all parts are written, and removes the parts of other checkpoints.
/// \throws EnvironmentError that names the file and the cause.
void WriteRecord(const std::string& folder, const RunRecord& record);

}  // namespace shardlab::train
