#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "build.hpp"
#include "context.hpp"
#include "shardlab/grade/session.hpp"
#include "shardlab/launch/sandbox.hpp"
#include "shardlab/report/rubric.hpp"
#include "shardlab/report/score_card.hpp"

/// \file
/// Grading one tree, as a function: build what is needed, run a session a module, score. It prints nothing, writes
/// nothing but the build folder, and changes nothing of the process: many trees can be graded at a time, each in a thread
/// and with a build folder of its own.

namespace shardlab::cli {

/// Grades one module; RunGradeSession, or what stands in for it in a test.
using SessionRunner = std::function<grade::SessionResult(const grade::SessionOptions&)>;

/// What to grade, and how.
struct GradeOnceOptions {
  std::vector<std::string> what;  ///< MODULE or MODULE.PART; empty: everything
  bool solutions = false;         ///< the reference solutions in place of the exercises
  uint64_t seed = 0;              ///< see DrawSeed
  int ranks = 0;                  ///< only cases on so many ranks; 0: all
  std::string case_name;          ///< only this case of the one part in `what`, without those before it; empty: all
  bool quick = false;             ///< only the cases that do without LibTorch
  std::shared_ptr<const launch::Sandbox>
      sandbox;                                  ///< in which the exercises run; null: none. Several runs may share one
  grade::Replay replay = grade::Replay::kNone;  ///< which cases have to pass twice
  SessionRunner run_session = grade::RunGradeSession;
  /// Asked, when all is built, of a part that is graded only because others come after it: whether it has passed as it
  /// is, and need not run. Empty: all run. For a student's own loop; a score that counts trusts no earlier run.
  std::function<bool(const Rubric&, const Part&)> has_passed;
  std::vector<std::string> first;  ///< "PART/ID" of cases to begin with
  /// Set it, from another thread or a signal handler, and the run ends within seconds: with what it has found.
  const std::atomic<bool>* cancel = nullptr;

  /// Which cases are not left out: "on 2 ranks", "without tensors", "called values"; empty: all are run.
  std::string OnlyWhere() const;
};

/// A seed for one run, short enough to be typed again; for a score that counts, too long to be found by trying which
/// one draws what a rank has been given.
uint64_t DrawSeed(bool long_one);

/// Is told what happens, in the thread that grades.
class GradeObserver {
 public:
  virtual ~GradeObserver() = default;

  /// What a person should know of the build, as a sentence; see BuildHooks::on_note.
  virtual void Notes(const std::string&) {}
  /// A step of the build is done, or some time has passed.
  virtual void Built(const BuildStep&) {}
  /// A module's programs are being started.
  virtual void Begins(const Rubric&) {}
  /// The cases of that module that are to be judged.
  virtual void Listed(const std::vector<grade::ListedCase>&) {}
  /// A case begins.
  virtual void Starts(const grade::ListedCase&) {}
  /// Whether Ran() is wanted: the events of a run cost memory.
  virtual bool WantsRuns() const { return false; }
  /// A run of the case is over; comes before Judged().
  virtual void Ran(const grade::ListedCase&, const grade::CaseOutcome&) {}
  /// A case is judged or skipped.
  virtual void Judged(const grade::CaseResult&) {}
  /// There is more to say than before: the function makes a card of all that was asked for, as far as it is known.
  virtual void Changed(const std::function<ScoreCard()>&) {}
};

/// What was found.
struct GradeResult {
  ScoreCard card;
  std::vector<grade::LearningCurve> curves;
  bool cancelled = false;                     ///< the cases that had not ended then are skipped
  bool problem = false;                       ///< a session could not be run: the machine's fault; why, the cases say
  std::vector<std::string> not_graded_again;  ///< full ids of parts that GradeOnceOptions::has_passed knew
  /// A part that waits, and the first that it builds on and that has not passed: full ids.
  std::map<std::string, std::string> waits_for;
};

/// Grades a tree. A file that does not compile costs its parts; what else cannot be built ends the run.
/// \throws UsageError when `what`, `case_name` or `ranks` fit nothing, before or after the build; BuildError, EnvironmentError
GradeResult GradeOnce(const SourceTree& tree, const GradeOnceOptions& options, GradeObserver& observer);

}  // namespace shardlab::cli
