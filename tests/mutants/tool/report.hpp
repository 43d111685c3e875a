#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sets.hpp"
#include "shardlab/report/terminal.hpp"
#include "trial.hpp"

/// \file
/// What all trials together say of the grader.

namespace shardlab::mutants {

/// All that was tried; outcome i is that of mutant or variant i.
struct Findings {
  Sets sets;
  std::vector<Outcome> mutants;
  std::vector<Outcome> variants;
  uint64_t seed = 0;
  double seconds = 0;       ///< wall-clock time
  double core_seconds = 0;  ///< processor time of all processes together, which other programs do not lengthen
};

/// How many mutants (or variants) ended so.
size_t Count(const std::vector<Outcome>& outcomes, Verdict verdict);

/// The smallest part of the mutants that must have the right diagnosis.
constexpr double kRightDiagnoses = 0.8;

/// 0: every mutant is killed, at least kRightDiagnoses of them with the right diagnosis, and every variant has full
/// marks; 1: not so; 2: an entry is broken, so that something could not be tried.
int ExitStatus(const Findings& findings);

/// The table, what there is to say of each entry that is not as it should be, and the counts.
std::string Render(const Findings& findings, const Terminal& terminal);

/// {"schema": 1, "seed", "seconds", "core_seconds", "mutants": [{"id", "where", "mistake", "expected": {"status",
/// "says"}, "verdict", "status", "case", "message", "build_s", "grade_s"}], "variants": [...], "counts": {verdict: n}}
std::string ToJson(const Findings& findings);

}  // namespace shardlab::mutants
