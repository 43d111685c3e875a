#pragma once

#include <optional>
#include <string>

#include "shardlab/plan/schedule.hpp"

/// \file
/// Schedules by name and from files, as `lab schedule` and `lab train` know them. Linked with a flavour: the generators and policies
/// are contracts.

namespace shardlab {

/// What somebody asked for.
struct ScheduleRequest {
  std::string name;  ///< one of ScheduleNames() (traits.hpp)
  /// Ranks of the pipeline. With one chunk a rank these are the stages.
  int stages = 1;
  /// Micro-batches an update; for pipedream, where each is an update, of the whole run.
  int microbatches = 1;
  /// Chunks a rank, where the schedule takes them; 2 unless given.
  std::optional<int> chunks;
  /// How many updates the schedule runs through without a flush, where it does; 3 unless given.
  std::optional<int> updates;
};

/// Generates the schedule and applies its policy: computation, weight versions and steps, no messages yet.
/// \throws UsageError for an unknown name (and names the nearest), or for chunks or updates where there are none;
/// ScheduleError for sizes that the schedule cannot have; NotImplemented from a stub.
Schedule MakeSchedule(const ScheduleRequest& request);

/// Reads a schedule from a file, in either form (text.hpp). It need not be valid.
/// \param option for messages: which option named the file
/// \param skipped as in ReadSchedule
/// \throws UsageError, in one line, for what is no file or no schedule.
Schedule ReadScheduleFile(const std::string& path, const std::string& option, std::string* skipped = nullptr);

}  // namespace shardlab
