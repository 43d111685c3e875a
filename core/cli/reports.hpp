#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "commands.hpp"
#include "shardlab/report/html.hpp"

/// \file
/// The files that `lab grade` writes beside the score card.

namespace shardlab::cli {

/// Collects what the reports show while the cases run, and writes them. One that cannot be written costs neither the
/// others nor the score: it is complained of once on standard error, and failed() says so.
class Reports {
 public:
  explicit Reports(const GradeOptions& options) : options_(options) {}

  /// Finds out before anything is built whether all that was asked for can be written.
  /// \throws UsageError, EnvironmentError
  void RequireWritable() const;

  /// Whether the events of the runs are needed at all.
  bool WantsRuns() const { return !options_.html.empty() || !options_.trace.empty(); }
  /// Takes a run of the case under way.
  void Ran(const grade::ListedCase& listed, const grade::CaseOutcome& run);
  /// Takes the case's result: its trace is written, and its timeline kept if the page will show it.
  void Judged(const grade::CaseResult& result);

  /// Whether results that are not the last are wanted.
  bool WantsPartial() const { return !options_.gradescope.empty() && !gradescope_failed_; }
  /// Writes them.
  void WritePartial(const ScoreCard& so_far);

  /// Writes everything.
  void Write(const ScoreCard& card, const std::vector<grade::LearningCurve>& curves, const std::string& next);

  /// What was written, for a person: paths, and the trace folder with the number of its files.
  const std::vector<std::string>& written() const { return written_; }
  /// Whether something that was asked for was not written.
  bool failed() const { return failed_; }

 private:
  bool TryWrite(const std::string& path, const std::string& text, bool durable = true);
  void WriteTrace(const std::string& part, const std::string& id);
  void KeepTimeline(const grade::CaseResult& result);

  const GradeOptions& options_;
  std::map<std::string, Timeline> timelines_;  // those that the page shows, by part and case
  std::map<std::string, std::string> chosen_;  // part -> the key of the one that stands for what passed

  // Of the case under way:
  std::vector<Timeline> runs_;
  std::string runs_of_;  // its key
  grade::ListedCase running_;

  size_t traces_ = 0;
  bool traces_failed_ = false;
  bool gradescope_failed_ = false;
  bool failed_ = false;
  std::vector<std::string> written_;
};

}  // namespace shardlab::cli
