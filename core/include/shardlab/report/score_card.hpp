#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "shardlab/grade/case.hpp"
#include "shardlab/report/rubric.hpp"

/// \file
/// What a grading run found, and the one function that turns it into points.
///
///     referee: ListedCase, CaseResult --+
///     compiler: CompileFailure ----------+--> ScoreModule --> ModuleScore --> ScoreCard --> terminal, JSON, ...
///     rubric.toml: Rubric ---------------+
///
/// Everything here is plain data, without LibTorch and without processes.

namespace shardlab {

/// A student's file that the compiler refused; its stub was graded in its place.
struct CompileFailure {
  std::string file;   ///< as in Part::files, relative to `exercises/<module>`
  std::string error;  ///< the compiler's first error in that file, "ring.cpp:12:3: error: ..."
};

/// A function that is broken or not written yet, with the case that shows it best.
struct Finding {
  /// "RingAllGather"; "TreeBroadcast, TreeReduce" where a case judges several together; empty: not known.
  std::string function;
  bool written = true;  ///< false: the stub's NotImplemented came out of it
  size_t shown_by = 0;  ///< which of PartScore::cases: of its failing ones the simplest
};

/// A part's points and why they are what they are.
struct PartScore {
  std::string id;                                  ///< full id, "communication.ring"
  std::string title;                               ///< from the rubric
  double score = 0;                                ///< points earned
  double max = 0;                                  ///< points to be had
  bool bonus = false;                              ///< not counted in the sums without "bonus"
  grade::Status status = grade::Status::kSkipped;  ///< by rules 3 to 6 of ScoreModule()
  std::string reason;                    ///< for a part that is not passed: the first thing to know, one line or more
  std::vector<grade::CaseResult> cases;  ///< every listed case, in the referee's order
  std::vector<Finding> findings;         ///< what is wrong, by FindBroken(); empty: passed, or did not run
  std::string visibility = "visible";    ///< from the rubric, for Gradescope
};

/// A module's parts and sums. `score` and `max` leave the bonus parts out.
struct ModuleScore {
  std::string id;                ///< the module's
  std::string title;             ///< from the rubric
  double score = 0;              ///< points earned
  double max = 0;                ///< points to be had
  double bonus = 0;              ///< bonus points earned
  double bonus_max = 0;          ///< bonus points to be had
  std::vector<PartScore> parts;  ///< in the rubric's order
  /// Parts that were graded only because those come after them: not on the card, and in no sum.
  std::vector<PartScore> before;
};

/// The result of one grading run.
struct ScoreCard {
  uint64_t seed = 0;                  ///< of all inputs
  std::string flavour = "exercises";  ///< or "solutions"
  double seconds = 0;                 ///< wall-clock time
  std::vector<ModuleScore> modules;   ///< in the order of the course
  std::string libtorch;               ///< version, "1.13.1"
  std::string revision;               ///< git revision of the tree, empty if there is none

  /// Sums over the modules; `Score` and `Max` leave the bonus parts out.
  double Score() const;
  /// Points to be had.
  double Max() const;
  /// Bonus points earned.
  double Bonus() const;
  /// Bonus points to be had.
  double BonusMax() const;

  /// Whether every part was passed; false for a card without parts.
  bool AllPassed() const;
};

/// What ScoreModule() needs beside the results.
struct ScoreOptions {
  /// Ids (without the module) of the parts that are on the card; empty: all of them. Parts that these come after may
  /// have run besides: they count for rule 5 only.
  std::vector<std::string> parts;
  /// Files that did not compile.
  std::vector<CompileFailure> compile_failures;
  /// Why cases without a result have none: "the run was ended with Ctrl-C", "the referee ended by signal SEGV".
  std::string why_not_run = "did not run";
};

/// Scores a module: the whole rule of points.
///
/// 1. Only results with status `kPassed` count, one for every listed case; a listed case without a result is
///    `kSkipped`, a result that was not listed is ignored, and of two results for one case the worse one counts.
/// 2. A part of x points gets nothing until all its value cases pass; then x/2. The other x/2 is divided equally among
///    the kinds gradient, cost and robustness that the part has; each gives its share when all its cases pass. A part
///    that has only value cases gets x for them. (A part without value cases: x is divided equally among the kinds.)
/// 3. A part is `kPassed` if every listed case passed, and there is at least one.
/// 4. A part with a file that does not compile is `kDoesNotCompile` and gets nothing; all such files are its reason.
/// 5. A part whose `after` parts ran (or do not compile) and are not all passed is `kSkipped`, gets nothing and says
///    why; of one that is not on the card, also where it goes wrong.
/// 6. Otherwise its status and its reason are those of the case that the first of FindBroken() is shown by; where no case
///    failed, but some did not run, of the first of these.
ModuleScore ScoreModule(const Rubric& rubric, const std::vector<grade::ListedCase>& listed,
                        const std::vector<grade::CaseResult>& results, const ScoreOptions& options = {});

/// What is wrong in a part, one entry a function, the one to begin with first:
///
/// - what is written and wrong before what is not written yet;
/// - wrong values and gradients before costs, these before failures of robustness (among them refusals);
/// - otherwise in the order of Part::functions, small ones first.
///
/// An entry is shown by the first of the function's failing cases: in the order of PartFunction::cases, then by kind,
/// then in that of the list. A function is left out while one that it uses has an entry that comes no later by these kinds: its failures say nothing new.
/// Cases that no function of the rubric has, count as those of one that uses all others.
std::vector<Finding> FindBroken(const Part& part, const std::vector<grade::CaseResult>& cases);

/// A part's cases, those that its findings are shown by first.
std::vector<const grade::CaseResult*> BrokenFirst(const PartScore& part);

/// The JSON of `lab grade --json`, schema 1, ending in a newline.
std::string ToJson(const ScoreCard& card);

/// The same as JUnit XML: a test suite a module, a test case a case (class name: the part's id). A part without cases
/// appears as one test case that failed or was skipped.
std::string ToJUnit(const ScoreCard& card);

/// The results.json of a Gradescope autograder: the score with the bonus in it, and a test a part with its points, its
/// visibility and what a student should read about its cases.
std::string ToGradescope(const ScoreCard& card);

}  // namespace shardlab
