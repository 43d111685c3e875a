#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "shardlab/report/score_card.hpp"

namespace shardlab {

using grade::CaseResult;
using grade::Kind;
using grade::ListedCase;
using grade::Status;

namespace {

/// Which of two results for one case counts: the smaller.
int Urgency(const CaseResult& result) {
  switch (result.status) {
    case Status::kDoesNotCompile:
      return 0;
    case Status::kNotImplemented:
      return 1;
    case Status::kDeadlock:
      return 2;
    case Status::kCrashed:
      return 3;
    case Status::kTimeout:
      return 4;
    case Status::kFailed:
      return 5;
    case Status::kSkipped:
      return 6;
    case Status::kPassed:
      return 7;
  }
  return 7;
}

/// The results of a part's listed cases, in the order of the list; those without a result as skipped.
std::vector<CaseResult> CasesOf(const std::string& part, const std::vector<ListedCase>& listed,
                                const std::vector<CaseResult>& results, const std::string& why_not_run) {
  std::vector<CaseResult> cases;
  for (const ListedCase& one : listed) {
    if (one.part != part) continue;
    const CaseResult* found = nullptr;
    for (const CaseResult& result : results) {
      if (result.part != one.part || result.id != one.id) continue;
      if (!found || Urgency(result) < Urgency(*found)) found = &result;
    }
    CaseResult entry;
    if (found) {
      entry = *found;
    } else {
      entry.status = Status::kSkipped;
      entry.message = why_not_run;
    }
    entry.part = one.part;
    entry.id = one.id;
    entry.kind = one.kind;
    cases.push_back(std::move(entry));
  }
  return cases;
}

/// The part of a part's points that its cases have earned, 0 to 1.
double Earned(const std::vector<CaseResult>& cases) {
  std::map<Kind, bool> passed;  // for each kind that the part has: whether all its cases passed
  for (const CaseResult& result : cases) {
    const auto at = passed.emplace(result.kind, true).first;
    at->second = at->second && result.status == Status::kPassed;
  }
  const auto value = passed.find(Kind::kValue);
  const bool has_value = value != passed.end();
  if (has_value && !value->second) return 0;
  size_t others = 0, others_passed = 0;
  for (const auto& [kind, all_passed] : passed) {
    if (kind == Kind::kValue) continue;
    ++others;
    others_passed += all_passed ? 1 : 0;
  }
  if (others == 0) return has_value ? 1 : 0;
  if (others_passed == others) return 1;  // exactly, where thirds would not add up
  const double share = static_cast<double>(others_passed) / static_cast<double>(others);
  return has_value ? 0.5 + 0.5 * share : share;
}

/// "builds on communication.ring, which fails now", of a part that did not pass in this run.
std::string BuildsOn(const PartScore& before) {
  switch (before.status) {
    case Status::kNotImplemented:
      return fmt::format("builds on {}, which is not written yet", before.id);
    case Status::kDoesNotCompile:
      return fmt::format("builds on {}, which does not compile", before.id);
    case Status::kSkipped:
      return fmt::format("builds on {}, which did not run", before.id);
    default:
      return fmt::format("builds on {}, which fails now", before.id);
  }
}

/// What a card must say of a part that is not on it: where it goes wrong.
std::string Details(const PartScore& before) {
  if (before.findings.empty() || !before.findings[0].written) return before.reason;
  const Finding& finding = before.findings[0];
  return fmt::format("{}{}: {}", finding.function.empty() ? "" : finding.function + ": ",
                     before.cases[finding.shown_by].id, before.reason);
}

}  // namespace

double ScoreCard::Score() const {
  double sum = 0;
  for (const ModuleScore& module : modules) sum += module.score;
  return sum;
}

double ScoreCard::Max() const {
  double sum = 0;
  for (const ModuleScore& module : modules) sum += module.max;
  return sum;
}

double ScoreCard::Bonus() const {
  double sum = 0;
  for (const ModuleScore& module : modules) sum += module.bonus;
  return sum;
}

double ScoreCard::BonusMax() const {
  double sum = 0;
  for (const ModuleScore& module : modules) sum += module.bonus_max;
  return sum;
}

bool ScoreCard::AllPassed() const {
  bool any = false;
  for (const ModuleScore& module : modules) {
    for (const PartScore& part : module.parts) {
      any = true;
      if (part.status != Status::kPassed) return false;
    }
  }
  return any;
}

ModuleScore ScoreModule(const Rubric& rubric, const std::vector<ListedCase>& listed,
                        const std::vector<CaseResult>& results, const ScoreOptions& options) {
  ModuleScore module;
  module.id = rubric.id;
  module.title = rubric.title;
  struct Before {
    PartScore score;
    bool on_card = false;
  };
  std::map<std::string, Before> ran;  // the parts that ran, or do not compile
  for (const Part& part : rubric.parts) {
    const bool on_card =
        options.parts.empty() || std::find(options.parts.begin(), options.parts.end(), part.id) != options.parts.end();
    PartScore score;
    score.id = rubric.FullId(part.id);
    score.title = part.title;
    score.max = part.points;
    score.bonus = part.bonus;
    score.visibility = part.visibility;
    score.cases = CasesOf(score.id, listed, results, options.why_not_run);

    std::string refused;  // what the compiler said of all the part's files
    for (const CompileFailure& failure : options.compile_failures) {
      if (std::find(part.files.begin(), part.files.end(), failure.file) == part.files.end()) continue;
      if (!refused.empty()) refused += "\n";
      refused += failure.error.empty() ? fmt::format("exercises/{}/{} does not compile", rubric.id, failure.file)
                                       : failure.error;
    }
    const Before* missing = nullptr;
    for (const std::string& before : part.after) {
      const auto at = ran.find(before);
      if (at != ran.end() && at->second.score.status != Status::kPassed && !missing) missing = &at->second;
    }

    if (!refused.empty()) {
      score.status = Status::kDoesNotCompile;
      score.reason = refused;
      for (CaseResult& result : score.cases) {  // the stub ran in place of the file: its results are not the student's
        result.status = Status::kDoesNotCompile;
        result.message = score.reason;
        result.has_figure = false;
      }
    } else if (missing) {
      score.status = Status::kSkipped;
      // What that one waits for itself is what matters.
      const bool waits = missing->score.status == Status::kSkipped;
      const std::string short_reason = waits ? missing->score.reason : BuildsOn(missing->score);
      score.reason = short_reason;
      if (!waits && !missing->on_card) score.reason += ":\n" + Details(missing->score);
      for (CaseResult& result : score.cases) {
        result.status = Status::kSkipped;
        result.message = short_reason;
        result.has_figure = false;
      }
    } else if (score.cases.empty()) {
      score.status = Status::kSkipped;
      score.reason = options.why_not_run;
    } else {
      score.findings = FindBroken(part, score.cases);
      const auto not_run = std::find_if(score.cases.begin(), score.cases.end(),
                                        [](const CaseResult& result) { return result.status == Status::kSkipped; });
      const CaseResult* shown = nullptr;
      if (not_run != score.cases.end()) shown = &*not_run;
      if (!score.findings.empty()) shown = &score.cases[score.findings[0].shown_by];
      score.status = shown ? shown->status : Status::kPassed;
      score.reason = shown ? shown->message : "";
      score.score = part.points * Earned(score.cases);
    }

    // A part that is not on the card and did not run says nothing about those after it.
    if (on_card || !refused.empty() || !score.cases.empty()) ran[part.id] = {score, on_card};
    if (!on_card) {
      if (!score.cases.empty()) module.before.push_back(std::move(score));
      continue;
    }
    (part.bonus ? module.bonus : module.score) += score.score;
    (part.bonus ? module.bonus_max : module.max) += score.max;
    module.parts.push_back(std::move(score));
  }
  return module;
}

}  // namespace shardlab
