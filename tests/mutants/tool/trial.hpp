#pragma once

#include <cstdint>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "context.hpp"
#include "sets.hpp"
#include "shardlab/report/rubric.hpp"
#include "workshop.hpp"

/// \file
/// One mutant or variant built and graded, as `lab grade` grades a student.

namespace shardlab::mutants {

/// How a trial ended.
enum class Verdict {
  kKilled,          ///< a mutant: the part failed, with the status and the words that were asked for
  kWrongDiagnosis,  ///< a mutant: the part failed, but said something else
  kSurvived,        ///< a mutant: every case passed
  kFullMarks,       ///< a variant: every case passed
  kBelow,           ///< a variant: a case did not pass
  kError            ///< it could not be tried
};

/// "killed", "wrong diagnosis", "survived", "full marks", "below full marks", "error".
const char* Name(Verdict verdict);

/// What came of one trial.
struct Outcome {
  Verdict verdict = Verdict::kError;
  grade::Status status = grade::Status::kSkipped;  ///< of the case that `message` is of
  std::string case_id;                             ///< of that case, "all_gather_values/ranks=3"; may be empty
  std::string message;                             ///< what it said, or why there was no trial
  double build_s = 0;                              ///< wall-clock time to compile and link
  double grade_s = 0;                              ///< wall-clock time of the session
};

void to_json(nlohmann::json& json, const Outcome& outcome);
void from_json(const nlohmann::json& json, Outcome& outcome);

/// Grades the mutant's part until a case fails as it must. Never throws: what goes wrong is the outcome's message.
Outcome Try(const cli::Context& context, const Workshop& workshop, const Mutant& mutant, const Rubric& rubric,
            uint64_t seed);

/// Grades the variant's parts until a case does not pass. Never throws.
Outcome Try(const cli::Context& context, const Workshop& workshop, const Variant& variant, const Rubric& rubric,
            uint64_t seed);

}  // namespace shardlab::mutants
