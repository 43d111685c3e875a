// lab grade: build, run a session a module, score, print, write.
//
//   select parts --> build host and referee --> files that do not compile --> session --> score --> card, reports
//
// Whatever ends early (Ctrl-C, a referee that dies) ends in the same place: a card of what there is.
#include <signal.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <map>
#include <random>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "build.hpp"
#include "commands.hpp"
#include "graders.hpp"
#include "modules.hpp"
#include "progress_file.hpp"
#include "reports.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/report/chart.hpp"
#include "shardlab/report/files.hpp"
#include "shardlab/report/progress.hpp"
#include "shardlab/report/score_card_text.hpp"

namespace shardlab::cli {
namespace {

using grade::CaseOutcome;
using grade::CaseResult;
using grade::PlannedCase;
using grade::Status;

std::atomic<bool> cancelled{false};
volatile std::sig_atomic_t cancel_signal = 0;

void Cancel(int signal) {
  cancel_signal = signal;
  cancelled = true;
}

/// While it lives, the first Ctrl-C ends the session in an orderly way; a second one ends the program at once. A
/// program that dies while it is written to does not end this one.
class CancelOnSignal {
 public:
  CancelOnSignal() {
    cancelled = false;
    cancel_signal = 0;
    struct sigaction action {};
    action.sa_handler = Cancel;
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &action, &before_[i]);
    before_pipe_ = std::signal(SIGPIPE, SIG_IGN);
  }
  ~CancelOnSignal() {
    std::signal(SIGPIPE, before_pipe_);
    for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &before_[i], nullptr);
  }
  CancelOnSignal(const CancelOnSignal&) = delete;
  CancelOnSignal& operator=(const CancelOnSignal&) = delete;

 private:
  static constexpr std::array<int, 3> kSignals = {SIGINT, SIGTERM, SIGHUP};
  std::array<struct sigaction, 3> before_{};
  void (*before_pipe_)(int) = SIG_DFL;
};

/// One run of `lab grade`.
class GradeRun {
 public:
  GradeRun(const Context& context, const GradeOptions& options, const Session& session)
      : context_(context), options_(options), session_(session), reports_(options) {}

  int Run() {
    const auto start = std::chrono::steady_clock::now();
    CheckOptions();
    card_.flavour = options_.solutions ? "solutions" : "exercises";
    card_.seed = options_.seed ? *options_.seed : DrawSeed(options_.sandbox);
    BuildAll();
    GradeAll();
    card_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (OnlySome() && !any_planned_ && !problem_ && interrupted_ == 0) {
      throw UsageError(fmt::format("no case of what was asked for runs {}; leave {} out", OnlyWhere(),
                                   options_.ranks == 0 ? "--quick"
                                   : options_.quick    ? "one of both"
                                                       : "--ranks"));
    }
    card_.revision = Revision(context_);
    const Terminal plain;
    reports_.Write(card_, curves_, NextThing(plain));  // first: printing into a pipe that nobody reads ends the program
    Print();
    RecordProgress();
    if (interrupted_ != 0) return kNotPassed;
    if (problem_ || reports_.failed()) return kEnvironment;
    return card_.AllPassed() ? kAllPassed : kNotPassed;
  }

 private:
  /// Everything that can be wrong with the command line is found before anything is built.
  void CheckOptions() {
    selections_ = Select(LoadRubrics(context_.root), options_.what);
    if (options_.solutions && !context_.HasSolutions()) {
      throw UsageError("there are no solutions in this tree: leave --solutions out to grade your own files");
    }
    if (options_.device != "cpu") {
      throw EnvironmentError("--device cuda: the cases of these modules run on the CPU only; leave --device out");
    }
    if (options_.quick) LeaveOutSlowModules();
    reports_.RequireWritable();
    if (options_.sandbox) {
      sandbox_ = launch::Sandbox::Find();
      const std::string open = sandbox_->shortcomings();
      if (!open.empty()) fmt::print(stderr, "lab: --sandbox: {}\n", open);
    }
  }

  /// With --quick: the modules that have something to grade then.
  void LeaveOutSlowModules() {
    std::vector<std::string> slow;
    std::vector<Selection> quick;
    for (Selection& selection : selections_) {
      if (cli::GradersOf(context_, selection.rubric.id, "exercises", true).programs.empty()) {
        slow.push_back(selection.rubric.id);
      } else {
        quick.push_back(std::move(selection));
      }
    }
    if (quick.empty()) {
      throw UsageError(fmt::format("{} has no case without tensors; leave --quick out", fmt::join(slow, " and ")));
    }
    selections_ = std::move(quick);
  }

  Graders GradersOf(const std::string& module) const {
    return cli::GradersOf(context_, module, card_.flavour, options_.quick);
  }

  /// Whether a part's other cases are left out: then its points mean little.
  bool OnlySome() const { return options_.ranks > 0 || options_.quick; }
  /// Which are not: "on 2 ranks", "without tensors".
  std::string OnlyWhere() const {
    std::string where = options_.quick ? "without tensors" : "";
    if (options_.ranks > 0) where += fmt::format("{}on {} ranks", where.empty() ? "" : " and ", options_.ranks);
    return where;
  }

  /// Seeds are drawn anew each run, and short enough to be typed again; where the score counts, too long to be found by
  /// trying which one draws what a rank has been given.
  static uint64_t DrawSeed(bool long_one) {
    std::random_device device;
    const uint64_t largest = long_one ? (uint64_t{1} << 53) - 1 : 999999;  // JSON's numbers are exact so far
    return std::uniform_int_distribution<uint64_t>(0, largest)(device);
  }

  void BuildAll() {
    std::vector<std::string> targets;
    for (const Selection& selection : selections_) {
      const Graders graders = GradersOf(selection.rubric.id);
      targets.insert(targets.end(), graders.targets.begin(), graders.targets.end());
    }
    try {
      Build(context_, targets);
    } catch (const Interrupted& interrupted) {
      interrupted_ = interrupted.signal;
    }
  }

  void GradeAll() {
    const CancelOnSignal cancel;
    WritePartial(nullptr, {});
    for (const Selection& selection : selections_) GradeModule(selection);
  }

  void GradeModule(const Selection& selection) {
    const Rubric& rubric = selection.rubric;
    ScoreOptions scoring;
    scoring.parts = selection.parts;
    if (!options_.solutions) scoring.compile_failures = ReadCompileFailures(context_, rubric);
    plan_.clear();
    results_.clear();
    not_passed_.clear();
    not_implemented_.clear();
    for (const CompileFailure& failure : scoring.compile_failures) {
      for (const Part& part : rubric.parts) {
        const bool of_part = std::find(part.files.begin(), part.files.end(), failure.file) != part.files.end();
        if (of_part) not_passed_[part.id] = "exercises/" + rubric.id + "/" + failure.file + " does not compile";
      }
    }
    if (interrupted_ != 0) {
      scoring.why_not_run = kEndedEarly;
    } else {
      RunSession(selection, scoring);
    }
    for (const Part& part : rubric.parts) {
      for (const std::string& before : part.after) {
        if (not_passed_.count(before)) waits_for_.emplace(rubric.FullId(part.id), rubric.FullId(before));
      }
    }
    card_.modules.push_back(ScoreModule(rubric, plan_, results_, scoring));
  }

  void RunSession(const Selection& selection, ScoreOptions& scoring) {
    const Rubric& rubric = selection.rubric;
    Progress progress(rubric.id, 0, stderr, context_.err);
    progress.Update(0, "starting");
    grade::SessionOptions session;
    session.module = rubric.id;
    session.programs = GradersOf(rubric.id).programs;
    session.seed = card_.seed;
    for (const std::string& part : WithPrerequisites(rubric, selection.parts)) {
      session.parts.push_back(rubric.FullId(part));
    }
    session.ranks = options_.ranks;
    session.sandbox = sandbox_;
    if (sandbox_) session.replay = grade::Replay::kSample;
    if (options_.replay) session.replay = grade::Replay::kAll;
    session.cancel = &cancelled;
    session.on_plan = [&](const std::vector<PlannedCase>& plan) {
      plan_ = plan;
      progress.SetTotal(static_cast<int64_t>(plan.size()));
    };
    session.skip = [&](const PlannedCase& planned) { return WhySkip(rubric, planned); };
    session.on_start = [&](const PlannedCase& planned) {
      progress.Update(static_cast<int64_t>(results_.size()), ShortId(planned.part) + ": " + planned.id);
    };
    if (reports_.WantsRuns()) {
      session.on_run = [&](const PlannedCase& planned, const CaseOutcome& run) { reports_.Ran(planned, run); };
    }
    session.on_result = [&](const CaseResult& result) {
      results_.push_back(result);
      reports_.Judged(result);
      if (result.status == Status::kNotImplemented) {
        not_implemented_.insert(result.part + "/" + BaseName(result.id));
        if (result.kind == grade::Kind::kValue) not_implemented_.insert(result.part);
      }
      if (result.status != Status::kPassed) {
        not_passed_.emplace(ShortId(result.part), fmt::format("builds on {}, which has not passed yet", result.part));
      }
      WritePartial(&selection, scoring);
      progress.Update(static_cast<int64_t>(results_.size()), ShortId(result.part) + ": " + result.id);
    };
    try {
      const grade::SessionResult result = session_(session);
      plan_ = result.planned;
      results_ = result.results;
      curves_.insert(curves_.end(), result.curves.begin(), result.curves.end());
      if (!result.libtorch.empty()) card_.libtorch = result.libtorch;
      if (result.cancelled || cancel_signal != 0) {
        interrupted_ = cancel_signal != 0 ? cancel_signal : SIGINT;
        scoring.why_not_run = kEndedEarly;
      }
    } catch (const EnvironmentError& error) {
      problem_ = true;
      scoring.why_not_run = Brief(error);
    } catch (const UsageError& error) {  // no case fits --ranks
      scoring.why_not_run = Brief(error);
    }
    any_planned_ = any_planned_ || !plan_.empty();
    if (options_.quick) LeaveOutSlowParts(scoring);
  }

  /// With --quick: parts all of whose cases have tensors are not on the card.
  void LeaveOutSlowParts(ScoreOptions& scoring) const {
    const auto has_no_case = [&](const std::string& part) {
      return std::none_of(plan_.begin(), plan_.end(),
                          [&](const PlannedCase& planned) { return ShortId(planned.part) == part; });
    };
    if (std::all_of(scoring.parts.begin(), scoring.parts.end(), has_no_case)) return;  // it says why
    scoring.parts.erase(std::remove_if(scoring.parts.begin(), scoring.parts.end(), has_no_case), scoring.parts.end());
  }

  /// What is known so far, for who reads it should this program not come to its end: the modules that are done, the
  /// one under way, and the others as not run.
  void WritePartial(const Selection* current, ScoreOptions scoring) {
    if (!reports_.WantsPartial()) return;
    ScoreCard so_far = card_;
    for (size_t i = card_.modules.size(); i < selections_.size(); ++i) {
      const Selection& selection = selections_[i];
      const bool under_way = &selection == current;
      if (!under_way) scoring = {};
      scoring.parts = selection.parts;
      scoring.why_not_run = "not run yet: the grader was still at work, or was ended";
      so_far.modules.push_back(ScoreModule(selection.rubric, under_way ? plan_ : std::vector<PlannedCase>(),
                                           under_way ? results_ : std::vector<CaseResult>(), scoring));
    }
    reports_.WritePartial(so_far);
  }

  /// Cases that can give no point any more are not worth a student's time: those of a file that does not compile, those
  /// of a part that builds on one that has failed a case, and where a function is not written yet, the same case on
  /// other numbers of ranks and the part's cases of other kinds.
  std::string WhySkip(const Rubric& rubric, const PlannedCase& planned) const {
    const Part* part = rubric.Find(ShortId(planned.part));
    if (!part) return "";
    const auto own = not_passed_.find(part->id);
    if (own != not_passed_.end() && own->second.find("does not compile") != std::string::npos) return own->second;
    for (const std::string& before : part->after) {
      const auto at = not_passed_.find(before);
      if (at != not_passed_.end()) return fmt::format("builds on {}, which has not passed yet", rubric.FullId(before));
    }
    const bool same = not_implemented_.count(planned.part + "/" + BaseName(planned.id)) > 0;
    const bool other_kind = planned.kind != grade::Kind::kValue && not_implemented_.count(planned.part) > 0;
    if (same || other_kind) return fmt::format("{} is not implemented yet", planned.part);
    return "";
  }

  void Print() {
    CardTextOptions text;
    text.next = NextThing(context_.out);
    fmt::print("{}", RenderScoreCard(card_, context_.out, text));
    if (OnlySome()) {
      fmt::print("These are points for the cases {} only; they are not recorded.\n", OnlyWhere());
    }
    SaveCurves();
    if (!reports_.written().empty()) fmt::print("Written: {}\n", fmt::join(reports_.written(), ", "));
    std::fflush(stdout);
  }

  /// The one next thing to do, as `terminal` can show it.
  std::string NextThing(const Terminal& terminal) const {
    if (interrupted_ != 0) return "Ended early: parts whose cases did not all run keep the points of what did run.";
    if (problem_) return "This machine could not run everything: ./lab doctor says what it lacks.";
    const PartScore* next = NextPart(card_);
    if (options_.solutions || !next) return "";
    if (next->status == Status::kSkipped && waits_for_.count(next->id)) {  // on a part that was not asked for
      std::string first = next->id;
      while (waits_for_.count(first)) first = waits_for_.at(first);
      return fmt::format("Next: {}, which {} builds on\n      {}", Paint(first, Tone::kStrong, terminal), next->id,
                         Paint("./lab grade " + first, Tone::kAccent, terminal));
    }
    const std::string hint = Paint("./lab hint " + next->id, Tone::kAccent, terminal);
    const std::string id = Paint(next->id, Tone::kStrong, terminal);
    switch (next->status) {
      case Status::kDoesNotCompile:
        return fmt::format("Next: make {} compile, then\n      {}", id,
                           Paint("./lab grade " + next->id, Tone::kAccent, terminal));
      case Status::kNotImplemented:
        return fmt::format("Next: {}  (handout: exercises/{}/README.md)\n      {}", id,
                           next->id.substr(0, next->id.find('.')), hint);
      default:
        return fmt::format("Next: {}\n      {}", id, hint);
    }
  }

  /// Learning curves over their references, for a browser.
  void SaveCurves() {
    if (curves_.empty()) return;
    std::vector<std::string> files;
    try {
      for (const grade::LearningCurve& curve : curves_) {
        std::string name = fmt::format("{}.{}", curve.part, curve.id);
        if (!curve.name.empty()) name += "." + curve.name;
        std::replace_if(
            name.begin(), name.end(), [](char letter) { return letter == '/' || letter == ' ' || letter == '='; }, '-');
        const std::string file = fmt::format("curves/{}/{}.svg", card_.flavour, name);
        const std::string title = fmt::format("{}: {}", curve.part, curve.name.empty() ? curve.id : curve.name);
        WriteFileSafely(context_.InState(file), LearningCurveSvg(title, curve.run, curve.reference, curve.tolerance));
        files.push_back(".lab/" + file);
      }
    } catch (const EnvironmentError& error) {
      fmt::print(stderr, "lab: {}\n", error.what());
    }
    if (files.empty()) return;
    fmt::print("Learning curves: {}\n",
               files.size() == 1 ? files[0] : fmt::format(".lab/curves/{}/*.svg", card_.flavour));
  }

  void RecordProgress() {
    if (options_.solutions || OnlySome() || problem_) return;
    try {
      ProgressMap progress = LoadProgress(context_);
      Record(card_, progress);
      SaveProgress(context_, progress);
    } catch (const std::exception& error) {  // the score has been shown; the board will be behind
      fmt::print(stderr, "lab: the progress was not recorded: {}\n", Brief(error));
    }
  }

  /// "all_gather_values" for "all_gather_values/ranks=3".
  static std::string BaseName(const std::string& id) { return id.substr(0, id.find('/')); }

  static std::string ShortId(const std::string& part) { return part.substr(part.find('.') + 1); }

  static constexpr const char* kEndedEarly = "not run: the run was ended early";

  const Context& context_;
  const GradeOptions& options_;
  const Session& session_;
  Reports reports_;
  std::vector<Selection> selections_;
  ScoreCard card_;
  std::vector<grade::LearningCurve> curves_;
  std::shared_ptr<const launch::Sandbox> sandbox_;
  std::map<std::string, std::string> waits_for_;  // full ids: a part and the first that it builds on and that failed
  int interrupted_ = 0;                           // the signal
  bool problem_ = false;                          // the machine could not run a session
  bool any_planned_ = false;                      // of any module

  // Of the module under way:
  std::vector<PlannedCase> plan_;
  std::vector<CaseResult> results_;
  std::map<std::string, std::string> not_passed_;  // part id -> why it cannot be passed any more
  std::set<std::string> not_implemented_;          // parts, and PART/CASE without the ranks
};

}  // namespace

int Grade(const Context& context, const GradeOptions& options, const Session& session) {
  return GradeRun(context, options, session).Run();
}

}  // namespace shardlab::cli
