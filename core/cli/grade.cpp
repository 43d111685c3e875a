// lab grade: what was asked for, and what a person sees of it.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "commands.hpp"
#include "last_runs.hpp"
#include "modules.hpp"
#include "progress_file.hpp"
#include "reports.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/launch/confine.hpp"
#include "shardlab/report/chart.hpp"
#include "shardlab/report/files.hpp"
#include "shardlab/report/progress.hpp"
#include "shardlab/report/score_card_text.hpp"

namespace shardlab::cli {
namespace {

using grade::CaseOutcome;
using grade::CaseResult;
using grade::ListedCase;
using grade::Status;

/// Lines of an explanation that was asked for by name.
constexpr size_t kWholeReason = 2000;

/// Progress bars on standard error, and the reports.
class Watcher final : public GradeObserver {
 public:
  /// `failed_before`: "PART/ID" of the cases that failed last time, which run first.
  Watcher(const Context& context, Reports& reports, const std::vector<std::string>& failed_before)
      : context_(context),
        reports_(reports),
        failed_before_(failed_before.begin(), failed_before.end()),
        build_(std::in_place, context) {}

  void Notes(const std::string& sentence) override { build_->Note(sentence); }
  void Built(const BuildStep& step) override { build_->Show(step); }
  void Begins(const Rubric& module) override {
    build_.reset();
    judged_ = 0;
    cases_.emplace(module.id, 0, stderr, context_.err);
    cases_->Update(0, "starting");
  }
  void Listed(const std::vector<ListedCase>& list) override { cases_->SetTotal(static_cast<int64_t>(list.size())); }
  void Starts(const ListedCase& listed) override { cases_->Update(judged_, ShortId(listed.part) + ": " + listed.id); }
  bool WantsRuns() const override { return reports_.WantsRuns(); }
  void Ran(const ListedCase& listed, const CaseOutcome& run) override { reports_.Ran(listed, run); }
  void Judged(const CaseResult& result) override {
    reports_.Judged(result);
    if (context_.err.interactive) TellIfItFailsAgain(result);
    cases_->Update(++judged_, ShortId(result.part) + ": " + result.id);
  }
  void Changed(const std::function<ScoreCard()>& so_far) override {
    if (reports_.WantsPartial()) reports_.WritePartial(so_far());
  }

 private:
  /// Of the cases that failed last time the first that still does: who waits for that one need not wait for the rest.
  void TellIfItFailsAgain(const CaseResult& result) {
    if (told_ || result.status == Status::kPassed || result.status == Status::kSkipped) return;
    if (failed_before_.count(result.part + "/" + result.id) == 0) return;
    told_ = true;
    cases_->Hide();
    fmt::print(stderr, "still fails: {}: {} (Ctrl-C ends the run and shows why)\n", result.part, result.id);
  }

  const Context& context_;
  Reports& reports_;
  std::set<std::string> failed_before_;
  bool told_ = false;
  std::optional<BuildBar> build_;
  std::optional<Progress> cases_;
  int64_t judged_ = 0;
};

/// Finds what is wrong with the command line before anything is built.
GradeOnceOptions OnceOptions(const GradeOptions& options, const SessionRunner& run_session, const Reports& reports) {
  if (options.device != "cpu") {
    throw EnvironmentError("--device cuda: the cases of these modules run on the CPU only; leave --device out");
  }
  reports.RequireWritable();
  GradeOnceOptions once;
  once.what = options.what;
  once.solutions = options.solutions;
  once.seed = options.seed ? *options.seed : DrawSeed(options.sandbox);
  once.ranks = options.ranks;
  once.case_name = options.case_name;
  once.quick = options.quick;
  if (options.sandbox) {
    once.sandbox = launch::Sandbox::Find();
    once.replay = grade::Replay::kSample;
    const std::string open = once.sandbox->shortcomings();
    if (!open.empty()) fmt::print(stderr, "lab: --sandbox: {}\n", open);
    if (!launch::CanConfine()) {
      fmt::print(stderr,
                 "lab: --sandbox: this kernel has no Landlock (Linux 5.13): the compiler of the exercises has limits, "
                 "but opens whatever you may read\n");
    }
  }
  if (options.replay) once.replay = grade::Replay::kAll;
  once.run_session = run_session;
  return once;
}

/// Whether this is a student's own loop, which need not repeat what it knows. A score that somebody else reads rests on
/// this run alone.
bool MayTrustEarlierRuns(const GradeOptions& options) {
  const bool is_read = !options.json.empty() || !options.junit.empty() || !options.gradescope.empty();
  const char* ci = std::getenv("CI");
  const bool in_ci = ci && *ci && std::string(ci) != "false" && std::string(ci) != "0";
  return !options.all && !options.solutions && !options.sandbox && !options.replay && !is_read && !in_ci;
}

/// As long as it runs, a signal ends it in an orderly way.
GradeResult RunOnce(const Context& context, GradeOnceOptions& once, Reports& reports) {
  const CancelOnSignal cancel;
  once.cancel = cancel.flag();
  Watcher watcher(context, reports, once.first);
  return GradeOnce(context, once, watcher);
}

/// The one next thing to do, as `terminal` can show it.
std::string NextThing(const GradeResult& result, const Terminal& terminal) {
  if (result.cancelled) return "Ended early: parts whose cases did not all run keep the points of what did run.";
  if (result.problem) return "This machine could not run everything: ./lab doctor says what it lacks.";
  const PartScore* next = NextPart(result.card);
  if (result.card.flavour == "solutions" || !next) return "";
  const auto& waits_for = result.waits_for;
  if (next->status == Status::kSkipped && waits_for.count(next->id)) {  // on a part that was not asked for
    std::string first = next->id;
    while (waits_for.count(first)) first = waits_for.at(first);
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
void SaveCurves(const Context& context, const GradeResult& result) {
  if (result.curves.empty()) return;
  std::vector<std::string> files;
  try {
    for (const grade::LearningCurve& curve : result.curves) {
      std::string name = fmt::format("{}.{}", curve.part, curve.id);
      if (!curve.name.empty()) name += "." + curve.name;
      std::replace_if(
          name.begin(), name.end(), [](char letter) { return letter == '/' || letter == ' ' || letter == '='; }, '-');
      const std::string file = fmt::format("curves/{}/{}.svg", result.card.flavour, name);
      const std::string title = fmt::format("{}: {}", curve.part, curve.name.empty() ? curve.id : curve.name);
      WriteFileSafely(context.InState(file), LearningCurveSvg(title, curve.run, curve.reference, curve.tolerance));
      files.push_back(".lab/" + file);
    }
  } catch (const EnvironmentError& error) {
    fmt::print(stderr, "lab: {}\n", error.what());
  }
  if (files.empty()) return;
  fmt::print("Learning curves: {}\n",
             files.size() == 1 ? files[0] : fmt::format(".lab/curves/{}/*.svg", result.card.flavour));
}

void RecordProgress(const Context& context, const ScoreCard& card, LastRuns& last_runs) {
  try {
    ProgressMap progress = LoadProgress(context);
    Record(card, progress);
    SaveProgress(context, progress);
    last_runs.Learn(card);
    last_runs.Save();
  } catch (const std::exception& error) {  // the score has been shown; the board will be behind
    fmt::print(stderr, "lab: the progress was not recorded: {}\n", Brief(error));
  }
}

}  // namespace

int Grade(const Context& context, const GradeOptions& options, const SessionRunner& run_session) {
  Reports reports(options);
  GradeOnceOptions once = OnceOptions(options, run_session, reports);
  const std::vector<Rubric> rubrics = LoadRubrics(context.root);
  LastRuns last_runs(context, rubrics);
  if (!options.solutions && !options.sandbox) once.first = last_runs.Failed();
  if (MayTrustEarlierRuns(options)) {
    once.has_passed = [&](const Rubric& rubric, const Part& part) { return last_runs.HasPassed(rubric, part); };
  }
  const GradeResult result = RunOnce(context, once, reports);
  // First: printing into a pipe that nobody reads ends the program.
  reports.Write(result.card, result.curves, NextThing(result, Terminal()));
  CardTextOptions text;
  text.next = NextThing(result, context.out);
  if (!options.case_name.empty()) text.reason_lines = text.further_reason_lines = kWholeReason;
  fmt::print("{}", RenderScoreCard(result.card, context.out, text));
  const std::string only_where = once.OnlyWhere();
  if (!only_where.empty()) fmt::print("These are points for the cases {} only; they are not recorded.\n", only_where);
  if (!result.not_graded_again.empty()) {
    fmt::print("Not graded again: {}, unchanged since {} passed (--all grades everything).\n",
               fmt::join(result.not_graded_again, ", "), result.not_graded_again.size() == 1 ? "it" : "they");
  }
  SaveCurves(context, result);
  if (!reports.written().empty()) fmt::print("Written: {}\n", fmt::join(reports.written(), ", "));
  std::fflush(stdout);
  if (!options.solutions && only_where.empty() && !result.problem) RecordProgress(context, result.card, last_runs);
  if (result.cancelled) return kNotPassed;
  if (result.problem || reports.failed()) return kEnvironment;
  return result.card.AllPassed() ? kAllPassed : kNotPassed;
}

}  // namespace shardlab::cli
