#pragma once

#include <map>
#include <string>
#include <vector>

#include "context.hpp"
#include "shardlab/report/rubric.hpp"
#include "shardlab/report/score_card.hpp"

/// \file
/// What a student has reached, as plain text in LAB_ROOT/.lab/progress.json:
///
///     {"schema": 1,
///      "parts": {"communication.ring": {"best": 1.0, "last": 0.5, "max": 1.0, "status": "failed", "hints": 2}, ...}}

namespace shardlab::cli {

/// One part's line.
struct PartProgress {
  double best = 0;
  double last = 0;
  double max = 0;
  std::string status;  ///< of the last run, "" if there was none
  int hints = 0;       ///< how many have been shown

  bool passed() const { return status == "passed"; }
};

/// By full id of the part.
using ProgressMap = std::map<std::string, PartProgress>;

/// Reads the file; nothing if it is not there.
/// \throws UsageError if it cannot be understood; it says that it may be deleted.
ProgressMap LoadProgress(const Context& context);

/// Writes the file whole.
/// \throws EnvironmentError if it cannot be written.
void SaveProgress(const Context& context, const ProgressMap& progress);

/// Takes over what a run found; parts of which a case did not run are left as they were.
void Record(const ScoreCard& card, ProgressMap& progress);

/// The part to work on next, as NextPart(), or nullptr when everything is passed: the first that is not passed and
/// whose `after` parts are, bonus parts last.
struct NextUp {
  const Rubric* rubric = nullptr;
  const Part* part = nullptr;
};
NextUp FindNext(const std::vector<Rubric>& rubrics, const ProgressMap& progress);

}  // namespace shardlab::cli
