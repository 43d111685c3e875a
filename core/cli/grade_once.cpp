// Grading one tree:
//
//   select parts --> build host and referee --> files that do not compile --> session --> score
//
// Whatever ends early (a cancelled run, a referee that dies) ends in the same place: a card of what there is.
#include "grade_once.hpp"

#include <algorithm>
#include <chrono>
#include <random>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "graders.hpp"
#include "modules.hpp"
#include "shardlab/base/errors.hpp"

namespace shardlab::cli {
namespace {

using grade::CaseOutcome;
using grade::CaseResult;
using grade::ListedCase;
using grade::Status;

constexpr const char* kEndedEarly = "not run: the run was ended early";

/// "all_gather_values" for "all_gather_values/ranks=3".
std::string BaseName(const std::string& id) { return id.substr(0, id.find('/')); }

/// One call of GradeOnce.
class Grading {
 public:
  Grading(const SourceTree& tree, const GradeOnceOptions& options, GradeObserver& observer)
      : tree_(tree), options_(options), observer_(observer) {}

  GradeResult Run() {
    const auto start = std::chrono::steady_clock::now();
    SelectParts();
    card().flavour = options_.solutions ? "solutions" : "exercises";
    card().seed = options_.seed;
    BuildAll();
    TellChange(nullptr, {});
    for (const Selection& selection : selections_) GradeModule(selection);
    card().seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (!any_listed_ && !result_.problem && !result_.cancelled && !options_.OnlyWhere().empty()) {
      throw UsageError(fmt::format("no case of what was asked for runs {}; leave {} out", options_.OnlyWhere(),
                                   options_.ranks == 0 ? "--quick"
                                   : options_.quick    ? "one of both"
                                                       : "--ranks"));
    }
    card().revision = Revision(tree_);
    return std::move(result_);
  }

 private:
  void SelectParts() {
    selections_ = Select(LoadRubrics(tree_.root), options_.what);
    if (options_.solutions && !tree_.HasSolutions()) {
      throw UsageError("there are no solutions in this tree: leave --solutions out to grade your own files");
    }
    const bool one_part = selections_.size() == 1 && selections_[0].parts.size() == 1;
    if (!options_.case_name.empty() && !one_part) {
      throw UsageError(fmt::format("--case {}: name the one part that has it, lab grade MODULE.PART --case {}",
                                   options_.case_name, options_.case_name));
    }
    if (options_.quick) LeaveOutSlowModules();
  }

  /// With `quick`: the modules that have something to grade then.
  void LeaveOutSlowModules() {
    std::vector<std::string> slow;
    std::vector<Selection> quick;
    for (Selection& selection : selections_) {
      if (GradersOf(tree_, selection.rubric.id, "exercises", true).programs.empty()) {
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

  Graders GradersOfModule(const std::string& module) const {
    return GradersOf(tree_, module, result_.card.flavour, options_.quick);
  }

  void BuildAll() {
    std::vector<std::string> targets;
    for (const Selection& selection : selections_) {
      const Graders graders = GradersOfModule(selection.rubric.id);
      targets.insert(targets.end(), graders.targets.begin(), graders.targets.end());
    }
    BuildHooks hooks;
    hooks.on_note = [&](const std::string& sentence) { observer_.Notes(sentence); };
    hooks.on_step = [&](const BuildStep& step) { observer_.Built(step); };
    hooks.cancel = options_.cancel;
    hooks.confined = options_.sandbox != nullptr;
    result_.cancelled = !BuildQuietly(tree_, targets, hooks);
  }

  void GradeModule(const Selection& selection) {
    const Rubric& rubric = selection.rubric;
    ScoreOptions scoring;
    scoring.parts = selection.parts;
    if (!options_.solutions) scoring.compile_failures = ReadCompileFailures(tree_, rubric);
    listed_.clear();
    results_.clear();
    not_passed_.clear();
    not_implemented_.clear();
    for (const CompileFailure& failure : scoring.compile_failures) {
      for (const Part& part : rubric.parts) {
        const bool of_part = std::find(part.files.begin(), part.files.end(), failure.file) != part.files.end();
        if (of_part) not_passed_[part.id] = "exercises/" + rubric.id + "/" + failure.file + " does not compile";
      }
    }
    if (result_.cancelled) {
      scoring.why_not_run = kEndedEarly;
    } else {
      RunSession(selection, scoring);
    }
    for (const Part& part : rubric.parts) {
      for (const std::string& before : part.after) {
        if (not_passed_.count(before)) result_.waits_for.emplace(rubric.FullId(part.id), rubric.FullId(before));
      }
    }
    card().modules.push_back(ScoreModule(rubric, listed_, results_, scoring));
  }

  void RunSession(const Selection& selection, ScoreOptions& scoring) {
    const Rubric& rubric = selection.rubric;
    observer_.Begins(rubric);
    try {
      const grade::SessionResult session = options_.run_session(OptionsFor(selection, scoring));
      listed_ = session.listed;
      results_ = session.results;
      result_.curves.insert(result_.curves.end(), session.curves.begin(), session.curves.end());
      if (!session.libtorch.empty()) card().libtorch = session.libtorch;
      if (session.cancelled || (options_.cancel != nullptr && options_.cancel->load())) {
        result_.cancelled = true;
        scoring.why_not_run = kEndedEarly;
      }
    } catch (const EnvironmentError& error) {
      result_.problem = true;
      scoring.why_not_run = Brief(error);
    } catch (const UsageError& error) {  // no case fits `ranks`
      if (!options_.case_name.empty()) throw;
      scoring.why_not_run = Brief(error);
    }
    any_listed_ = any_listed_ || !listed_.empty();
    if (options_.quick) LeaveOutSlowParts(scoring);
  }

  /// The parts whose cases run: those that were asked for, and those before them of which it is not known that they have
  /// passed.
  std::vector<std::string> PartsToRun(const Selection& selection) {
    const Rubric& rubric = selection.rubric;
    const auto asked = [&](const std::string& part) {
      return std::find(selection.parts.begin(), selection.parts.end(), part) != selection.parts.end();
    };
    std::vector<std::string> parts;
    for (const std::string& part : WithPrerequisites(rubric, selection.parts)) {
      if (!asked(part)) {
        if (!options_.case_name.empty()) continue;
        if (options_.has_passed && options_.has_passed(rubric, *rubric.Find(part))) {
          result_.not_graded_again.push_back(rubric.FullId(part));
          continue;
        }
      }
      parts.push_back(rubric.FullId(part));
    }
    return parts;
  }

  grade::SessionOptions OptionsFor(const Selection& selection, const ScoreOptions& scoring) {
    const Rubric& rubric = selection.rubric;
    grade::SessionOptions session;
    session.module = rubric.id;
    session.programs = GradersOfModule(rubric.id).programs;
    session.seed = options_.seed;
    session.parts = PartsToRun(selection);
    session.case_name = options_.case_name;
    session.first = options_.first;
    session.ranks = options_.ranks;
    session.sandbox = options_.sandbox;
    session.replay = options_.replay;
    session.cancel = options_.cancel;
    session.on_cases = [&](const std::vector<ListedCase>& list) {
      listed_ = list;
      observer_.Listed(list);
    };
    session.skip = [&](const ListedCase& listed) { return WhySkip(rubric, listed); };
    session.on_start = [&](const ListedCase& listed) { observer_.Starts(listed); };
    if (observer_.WantsRuns()) {
      session.on_run = [&](const ListedCase& listed, const CaseOutcome& run) { observer_.Ran(listed, run); };
    }
    session.on_result = [&](const CaseResult& result) {
      results_.push_back(result);
      if (result.status == Status::kNotImplemented) {
        not_implemented_.insert(result.part + "/" + BaseName(result.id));
        const Part* part = rubric.Find(ShortId(result.part));
        if (part && result.kind == grade::Kind::kValue) {
          not_implemented_.insert(SameFunction(*part, result.part, result.id));
        }
      }
      if (result.status != Status::kPassed) {
        not_passed_.emplace(ShortId(result.part), fmt::format("builds on {}, which did not pass", result.part));
      }
      observer_.Judged(result);
      TellChange(&selection, scoring);
    };
    return session;
  }

  /// With `quick`: parts all of whose cases have tensors are not on the card.
  void LeaveOutSlowParts(ScoreOptions& scoring) const {
    const auto has_no_case = [&](const std::string& part) {
      return std::none_of(listed_.begin(), listed_.end(),
                          [&](const ListedCase& listed) { return ShortId(listed.part) == part; });
    };
    if (std::all_of(scoring.parts.begin(), scoring.parts.end(), has_no_case)) return;  // it says why
    scoring.parts.erase(std::remove_if(scoring.parts.begin(), scoring.parts.end(), has_no_case), scoring.parts.end());
  }

  /// Tells the observer the score at this moment, in case the run is ended: modules that are done, the one under way, and
  /// the others as not run.
  void TellChange(const Selection* current, const ScoreOptions& current_scoring) {
    observer_.Changed([&] {
      ScoreCard so_far = card();
      for (size_t i = card().modules.size(); i < selections_.size(); ++i) {
        const Selection& selection = selections_[i];
        const bool under_way = &selection == current;
        ScoreOptions scoring = under_way ? current_scoring : ScoreOptions();
        scoring.parts = selection.parts;
        scoring.why_not_run = "not run yet: the grader was still at work, or was ended";
        so_far.modules.push_back(ScoreModule(selection.rubric, under_way ? listed_ : std::vector<ListedCase>(),
                                             under_way ? results_ : std::vector<CaseResult>(), scoring));
      }
      return so_far;
    });
  }

  /// The cases that judge what this one does, of a part that is in the rubric.
  static std::string SameFunction(const Part& part, const std::string& full_id, const std::string& case_id) {
    return fmt::format("{}, function {}", full_id, part.PlaceOf(case_id).function);
  }

  /// Cases that can say nothing new are not worth a student's time: those of a file that does not compile, those of a part
  /// that builds on one that has failed a case, and where a function is not written yet, the same case on other numbers of
  /// ranks and the function's cases of other kinds.
  std::string WhySkip(const Rubric& rubric, const ListedCase& listed) const {
    const Part* part = rubric.Find(ShortId(listed.part));
    if (!part) return "";
    const auto own = not_passed_.find(part->id);
    if (own != not_passed_.end() && own->second.find("does not compile") != std::string::npos) return own->second;
    for (const std::string& before : part->after) {
      const auto at = not_passed_.find(before);
      if (at != not_passed_.end()) return fmt::format("builds on {}, which did not pass", rubric.FullId(before));
    }
    const bool same = not_implemented_.count(listed.part + "/" + BaseName(listed.id)) > 0;
    const bool other_kind =
        listed.kind != grade::Kind::kValue && not_implemented_.count(SameFunction(*part, listed.part, listed.id)) > 0;
    return same || other_kind ? fmt::format("{} is not implemented yet", listed.part) : "";
  }

  ScoreCard& card() { return result_.card; }

  const SourceTree& tree_;
  const GradeOnceOptions& options_;
  GradeObserver& observer_;
  std::vector<Selection> selections_;
  GradeResult result_;
  bool any_listed_ = false;  // of any module

  // Of the module under way:
  std::vector<ListedCase> listed_;
  std::vector<CaseResult> results_;
  std::map<std::string, std::string> not_passed_;  // part id -> why it cannot be passed any more
  std::set<std::string> not_implemented_;          // PART/CASE without the ranks, and SameFunction()
};

}  // namespace

std::string GradeOnceOptions::OnlyWhere() const {
  std::string where = quick ? "without tensors" : "";
  if (ranks > 0) where += fmt::format("{}on {} ranks", where.empty() ? "" : " and ", ranks);
  if (!case_name.empty()) where += fmt::format("{}called {}", where.empty() ? "" : " and ", case_name);
  return where;
}

uint64_t DrawSeed(bool long_one) {
  std::random_device device;
  const uint64_t largest = long_one ? (uint64_t{1} << 53) - 1 : 999999;  // JSON's numbers are exact so far
  return std::uniform_int_distribution<uint64_t>(0, largest)(device);
}

GradeResult GradeOnce(const SourceTree& tree, const GradeOnceOptions& options, GradeObserver& observer) {
  return Grading(tree, options, observer).Run();
}

}  // namespace shardlab::cli
