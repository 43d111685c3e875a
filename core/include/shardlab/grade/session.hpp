#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "shardlab/grade/case.hpp"
#include "shardlab/grade/learning_curve.hpp"
#include "shardlab/launch/sandbox.hpp"

/// \file
/// One module graded, from the side of the supervisor: it starts the module's host (the student's code) and its referee
/// (the judge), carries what the referee asks for to the host, watches over every rank, and collects what the referee
/// says. Neither program is trusted with the score: the caller computes it from the listed cases and the
/// results.

namespace shardlab::grade {

/// Which of the value and cost cases that passed are run again with messages that the supervisor itself relays and
/// counts, every rank in a host of its own. A case that does not pass again has failed.
enum class Replay {
  kNone,    ///< announcements are believed
  kSample,  ///< of each kind one a part, on 2 to 4 ranks, drawn from the seed
  kAll      ///< all that run on more than one rank
};

/// The two programs that grade cases of a module.
struct GraderPrograms {
  std::string host;     ///< path of host_<module>_<flavour>
  std::string referee;  ///< path of referee_<module>
};

/// What to grade and whom to tell.
struct SessionOptions {
  std::string module;  ///< "communication"
  /// One pair, or several that share the module's cases among them: the list begins with the first one's, and ends with
  /// the last one's. A module has a second pair for cases without LibTorch, which are over in a second and come first.
  std::vector<GraderPrograms> programs;
  uint64_t seed = 0;                               ///< all inputs of all cases follow from it
  std::vector<std::string> parts;                  ///< only these ("communication.ring"), in this order; empty: all
  std::string case_filter;                         ///< only cases whose id contains this; empty: all
  std::string case_name;                           ///< only the case of this name, with its ranks or on all; empty: all
  std::vector<std::string> first;                  ///< "PART/ID" of cases to begin with; the list keeps its order
  int ranks = 0;                                   ///< only cases on so many ranks; 0: all
  bool observed = true;                            ///< see CaseRequest::observed
  std::shared_ptr<const launch::Sandbox> sandbox;  ///< in which the host runs; null: beside this process
  Replay replay = Replay::kNone;                   ///< which cases have to pass twice
  double startup_limit_s = 60;                     ///< for a program to start and say so
  double case_limit_s = 120;  ///< for the referee between two messages, the time of its runs not counted

  /// \name Callbacks, called in the thread that runs the session; any may be empty
  ///@{
  /// All cases that will be judged, once, before the first one.
  std::function<void(const std::vector<ListedCase>&)> on_cases;
  /// Asked before each case: a reason for which it is skipped ("builds on communication.ring, ..."), or "" to run it.
  std::function<std::string(const ListedCase&)> skip;
  /// A case begins.
  std::function<void(const ListedCase&)> on_start;
  /// A run of a case's body is over, whatever came of it; a case may have none or several. Comes before its result.
  std::function<void(const ListedCase&, const CaseOutcome&)> on_run;
  /// A case is judged or skipped.
  std::function<void(const CaseResult&)> on_result;
  /// A case drew a curve; comes before its result.
  std::function<void(const LearningCurve&)> on_curve;
  ///@}

  /// Set it (also from a signal handler) and the session ends within a second: the case under way is ended and not
  /// reported, the rest are results with status kSkipped and the message "not run: cancelled".
  const std::atomic<bool>* cancel = nullptr;
};

/// What a session found.
struct SessionResult {
  std::vector<ListedCase> listed;  ///< what the referee meant to judge
  /// One for each listed case, in the order of the list. What the referee did not explicitly judge is kSkipped.
  std::vector<CaseResult> results;
  std::vector<LearningCurve> curves;  ///< in the order of their cases
  std::string libtorch;               ///< the referee's, "1.13.1"; empty where none computes with tensors
  bool cancelled = false;             ///< whether SessionOptions::cancel ended it
  double seconds = 0;                 ///< from the first program's start to the last one's end
};

/// Grades one module. When it returns or throws, none of the processes that it started is left, nor any that those
/// started.
///
/// Sessions of several threads do not meet: each knows its own processes, and whatever descends from them
/// (launch::ProcessTree). The memory of the calling process is hidden from others for good (launch::HideMemory).
///
/// A host that dies ends only the case under way (kCrashed) and is started again.
/// \throws EnvironmentError when a program cannot be started, or the referee dies or says nothing within its limit; the
///         message has the last lines that it printed.
/// \throws UsageError when no case fits `parts`, `case_filter`, `case_name` and `ranks`; the message says what there is,
///         of a name that is not there also what is nearest.
SessionResult RunGradeSession(const SessionOptions& options);

}  // namespace shardlab::grade
