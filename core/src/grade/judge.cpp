#include "judge.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/launch/process.hpp"

namespace shardlab::grade {

namespace {

std::vector<RegisteredCase>& Cases() {
  static std::vector<RegisteredCase> cases;
  return cases;
}

std::string& LibTorch() {
  static std::string version;
  return version;
}

/// A seed that follows from the run's seed and the case's name, so that a case draws the same inputs whatever other
/// cases are run.
uint64_t SeedOf(uint64_t run_seed, const std::string& text) {
  uint64_t hash = 0xcbf29ce484222325u ^ run_seed;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  hash ^= hash >> 31;
  hash *= 0x9e3779b97f4a7c15u;
  return hash ^ (hash >> 29);
}

/// The figures of a case that passed, in one line.
std::string OnSuccess(const std::vector<MeasuredFigure>& figures) {
  std::string text;
  for (const MeasuredFigure& figure : figures) {
    text += fmt::format("{}{}: {:.6g} {} (target {:.6g})", text.empty() ? "" : "; ", figure.what, figure.measured,
                        figure.unit, figure.target);
  }
  return text;
}

/// The figures of a case that failed, a line each: those that are off first, and of those that are met a few.
std::string OnFailure(const std::vector<MeasuredFigure>& figures) {
  constexpr size_t kMost = 6;
  if (figures.empty()) return "";
  std::string text = "\n  measured beside the target:";
  size_t shown = 0;
  for (const bool met : {false, true}) {
    for (const MeasuredFigure& figure : figures) {
      if (figure.met != met || shown == kMost) continue;
      ++shown;
      text += fmt::format("\n    {} {}: {:.10g} {}, target {:.10g}", met ? " " : "*", figure.what, figure.measured,
                          figure.unit, figure.target);
    }
  }
  if (shown < figures.size()) text += fmt::format("\n      and {} more", figures.size() - shown);
  return text;
}

nlohmann::json AsJson(const std::vector<MeasuredFigure>& figures) {
  nlohmann::json list = nlohmann::json::array();
  for (const MeasuredFigure& figure : figures) {
    list.push_back({{"what", figure.what},
                    {"measured", figure.measured},
                    {"target", figure.target},
                    {"unit", figure.unit},
                    {"met", figure.met}});
  }
  return list;
}

std::string Indented(const std::string& text, size_t max_lines) {
  std::string out;
  size_t lines = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    if (lines++ == max_lines) {
      out += "\n    ...";
      break;
    }
    out += "\n    " + text.substr(begin, end - begin);
    begin = end + 1;
  }
  return out;
}

/// What the student's code printed in the run that the message is about.
std::string Printed(const CaseOutcome& outcome) {
  std::string text;
  for (size_t rank = 0; rank < outcome.ranks.size(); ++rank) {
    const std::string& printed = outcome.ranks[rank].printed;
    if (!printed.empty()) text += fmt::format("\n  rank {} printed:{}", rank, Indented(printed, 12));
  }
  return text;
}

}  // namespace

const std::vector<RegisteredCase>& RegisteredCases() { return Cases(); }
void RegisterCase(RegisteredCase entry) { Cases().push_back(std::move(entry)); }

const std::string& LibTorchOfCases() { return LibTorch(); }
void SetLibTorchOfCases(const std::string& version) { LibTorch() = version; }

CaseState::CaseState(const ListedCase& listed, uint64_t seed, Arena& arena)
    : listed(listed), seed(seed), arena(arena), random(seed) {}

CaseOutcome CaseState::Run(const CaseRequest& request) {
  CaseOutcome outcome = arena.Run(request);
  last_outcome = outcome;
  // The events can be large, and the report of a failure does not need them twice.
  last_outcome.events.clear();
  if (outcome.status == Status::kSkipped) RequireSuccess(outcome);
  return outcome;
}

void CaseState::RequireSuccess(const CaseOutcome& outcome) {
  if (outcome.status == Status::kPassed) return;
  Conclude(outcome.status, outcome.message);
  throw CaseEnds();
}

void CaseState::Conclude(Status status, const std::string& message) {
  if (concluded) return;
  concluded = true;
  result.status = status;
  result.message = message;
}

void CaseState::Measure(const MeasuredFigure& figure, std::string failure,
                        const std::vector<FigureHypothesis>& hypotheses) {
  // The figure that is shown beside its target: the first that is not met, or else the first.
  const bool missed_before = std::any_of(figures.begin(), figures.end(), [](const auto& other) { return !other.met; });
  if (!result.has_figure || (!figure.met && !missed_before)) {
    result.has_figure = true;
    result.measured = figure.measured;
    result.target = figure.target;
    result.unit = figure.unit;
  }
  figures.push_back(figure);
  if (figure.met || concluded) return;
  for (const FigureHypothesis& hypothesis : hypotheses) {
    if (hypothesis.value != figure.measured || hypothesis.value == figure.target) continue;
    const std::string diagnosis = "this is what you get when " + hypothesis.meaning;
    failure += "\n  " + diagnosis;
    result.evidence["diagnosis"] = diagnosis;
    break;
  }
  Conclude(Status::kFailed, failure);
}

CaseResult Judge(const RegisteredCase& entry, const ListedCase& listed, uint64_t run_seed, Arena& arena) {
  const int64_t begin_ns = launch::MonotonicNs();
  CaseState state(listed, SeedOf(run_seed, listed.part + "/" + listed.id), arena);
  try {
    entry.run(state);
    if (state.checks == 0) state.Conclude(Status::kFailed, "this case checks nothing, so nothing can pass it");
    state.Conclude(Status::kPassed, OnSuccess(state.figures));
  } catch (const CaseEnds&) {
  } catch (const ContractError& error) {
    state.Conclude(Status::kFailed, fmt::format("the grader of this case is wrong: {}", error.what()));
  } catch (const std::exception& error) {
    state.Conclude(Status::kFailed, fmt::format("the grader could not judge this: {}", Brief(error)));
  }
  CaseResult result = std::move(state.result);
  if (!state.figures.empty()) result.evidence["figures"] = AsJson(state.figures);
  if (result.status == Status::kFailed) result.message += OnFailure(state.figures);
  if (result.status != Status::kPassed && result.status != Status::kNotImplemented) {
    result.message += Printed(state.last_outcome);
  }
  result.part = listed.part;
  result.id = listed.id;
  result.kind = listed.kind;
  result.seconds = static_cast<double>(launch::MonotonicNs() - begin_ns) / 1e9;
  return result;
}

}  // namespace shardlab::grade
