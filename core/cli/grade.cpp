// lab grade: what was asked for, and what a person sees of it.
#include <algorithm>
#include <cstdio>
#include <optional>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "commands.hpp"
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
using grade::ListedCase;
using grade::Status;

/// Progress bars on standard error, and the reports.
class Watcher final : public GradeObserver {
 public:
  Watcher(const Context& context, Reports& reports)
      : context_(context), reports_(reports), build_(std::in_place, context) {}

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
    cases_->Update(++judged_, ShortId(result.part) + ": " + result.id);
  }
  void Changed(const std::function<ScoreCard()>& so_far) override {
    if (reports_.WantsPartial()) reports_.WritePartial(so_far());
  }

 private:
  const Context& context_;
  Reports& reports_;
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
  once.quick = options.quick;
  if (options.sandbox) {
    once.sandbox = launch::Sandbox::Find();
    once.replay = grade::Replay::kSample;
    const std::string open = once.sandbox->shortcomings();
    if (!open.empty()) fmt::print(stderr, "lab: --sandbox: {}\n", open);
  }
  if (options.replay) once.replay = grade::Replay::kAll;
  once.run_session = run_session;
  return once;
}

/// As long as it runs, a signal ends it in an orderly way.
GradeResult RunOnce(const Context& context, GradeOnceOptions& once, Reports& reports) {
  const CancelOnSignal cancel;
  once.cancel = cancel.flag();
  Watcher watcher(context, reports);
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

void RecordProgress(const Context& context, const ScoreCard& card) {
  try {
    ProgressMap progress = LoadProgress(context);
    Record(card, progress);
    SaveProgress(context, progress);
  } catch (const std::exception& error) {  // the score has been shown; the board will be behind
    fmt::print(stderr, "lab: the progress was not recorded: {}\n", Brief(error));
  }
}

}  // namespace

int Grade(const Context& context, const GradeOptions& options, const SessionRunner& run_session) {
  Reports reports(options);
  GradeOnceOptions once = OnceOptions(options, run_session, reports);
  const GradeResult result = RunOnce(context, once, reports);
  // First: printing into a pipe that nobody reads ends the program.
  reports.Write(result.card, result.curves, NextThing(result, Terminal()));
  CardTextOptions text;
  text.next = NextThing(result, context.out);
  fmt::print("{}", RenderScoreCard(result.card, context.out, text));
  const std::string only_where = once.OnlyWhere();
  if (!only_where.empty()) fmt::print("These are points for the cases {} only; they are not recorded.\n", only_where);
  SaveCurves(context, result);
  if (!reports.written().empty()) fmt::print("Written: {}\n", fmt::join(reports.written(), ", "));
  std::fflush(stdout);
  if (!options.solutions && only_where.empty() && !result.problem) RecordProgress(context, result.card);
  if (result.cancelled) return kNotPassed;
  if (result.problem || reports.failed()) return kEnvironment;
  return result.card.AllPassed() ? kAllPassed : kNotPassed;
}

}  // namespace shardlab::cli
