#pragma once

#include <map>
#include <string>
#include <vector>

#include "context.hpp"
#include "shardlab/report/rubric.hpp"
#include "shardlab/report/score_card.hpp"

/// \file
/// What a student's own loop need not do again, in LAB_ROOT/.lab/last_runs.json:
///
///     {"schema": 1,
///      "parts": {"pipeline.lists": {"passed": "1f0c...", "failed": []},
///                "pipeline.1f1b": {"passed": "", "failed": ["training/ranks=2"]}, ...}}
///
/// `passed` is the fingerprint of what was graded when all cases of the part passed: the texts of its files, of those of
/// the parts that it comes after, of other files in exercises/<module> that belong to no part, and of parts whose
/// contract one of these includes; besides, size and time of the programs that grade. It is no protection against
/// who writes it by hand: a score that counts never reads this file.

namespace shardlab::cli {

/// The runs before this one, and what this one adds.
class LastRuns {
 public:
  /// Reads the file, and the sources as they are before the build. A file that cannot be understood holds nothing.
  LastRuns(const SourceTree& tree, const std::vector<Rubric>& rubrics);

  /// Whether the part passed as it is: neither its sources nor its graders have changed since.
  bool HasPassed(const Rubric& rubric, const Part& part) const;

  /// "PART/ID" of all cases that ran last time and failed. What is not written yet did not fail.
  std::vector<std::string> Failed() const;

  /// Takes over what a run found that judged all cases of its parts.
  void Learn(const ScoreCard& card);

  /// Writes the file whole.
  /// \throws EnvironmentError
  void Save() const;

 private:
  struct Entry {
    std::string passed;
    std::vector<std::string> failed;
  };

  std::string SourcesOf(const Rubric& rubric, const Part& part) const;
  std::string FingerprintOf(const Rubric& rubric, const Part& part) const;

  const SourceTree& tree_;
  const std::vector<Rubric>& rubrics_;
  std::map<std::string, Entry> parts_;           // by full id
  std::map<std::string, std::string> at_start_;  // full id -> SourcesOf() before the build
};

}  // namespace shardlab::cli
