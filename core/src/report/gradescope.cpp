// Gradescope's results.json: https://gradescope-autograders.readthedocs.io/en/latest/specs/
#include <cmath>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "shardlab/report/score_card.hpp"
#include "shardlab/report/score_card_text.hpp"
#include "shardlab/report/terminal.hpp"

namespace shardlab {

using grade::CaseResult;
using grade::Status;

namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxExplanation = 4000;  // bytes of one case's explanation
constexpr size_t kMaxExplained = 10;      // cases of one part; the others are named

/// One line a case that passed is too much to read: they are counted.
std::string OutputOf(const PartScore& part) {
  std::string text;
  if (part.cases.empty() || part.status == Status::kDoesNotCompile) return part.reason;
  size_t passed = 0, skipped = 0, explained = 0;
  std::string others, why_skipped;
  for (const CaseResult* one : BrokenFirst(part)) {
    const CaseResult& result = *one;
    if (result.status == Status::kPassed) {
      ++passed;
    } else if (result.status == Status::kSkipped) {
      if (skipped++ == 0) why_skipped = result.message;
    } else if (++explained > kMaxExplained) {
      others += fmt::format("{}{}", others.empty() ? "" : ", ", result.id);
    } else {
      std::string message = result.message.substr(0, kMaxExplanation);
      if (message.size() < result.message.size()) message += " ...";
      text += fmt::format("{} ({}): {}\n{}\n\n", result.id, Name(result.kind), Name(result.status), message);
    }
  }
  if (!others.empty()) text += fmt::format("Not passed either: {}.\n\n", others);
  if (skipped > 0) text += fmt::format("{} of {} cases did not run: {}\n", skipped, part.cases.size(), why_skipped);
  text += fmt::format("{} of {} cases passed.\n", passed, part.cases.size());
  for (const std::string& line : MissingPoints(part)) text += line + "\n";
  for (const CaseResult& result : part.cases) {
    if (result.status != Status::kPassed || !result.has_figure) continue;
    text += fmt::format("  {}: {}, target {}{}\n", result.id, PrettyAmount(result.measured, result.unit),
                        result.measured == result.target ? "" : "at most ", PrettyNumber(result.target));
  }
  return text;
}

}  // namespace

std::string ToGradescope(const ScoreCard& card) {
  Json tests = Json::array();
  for (const ModuleScore& module : card.modules) {
    for (const PartScore& part : module.parts) {
      tests.push_back({{"name", fmt::format("{}{}: {}", part.id, part.bonus ? " (bonus)" : "", part.title)},
                       {"score", part.score},
                       {"max_score", part.max},
                       {"status", part.status == Status::kPassed ? "passed" : "failed"},
                       {"output", OutputOf(part)},
                       {"output_format", "text"},
                       {"visibility", part.visibility},
                       {"extra_data", {{"status", Name(part.status)}, {"bonus", part.bonus}}}});
    }
  }
  const std::string points = PointsText(card.Score(), card.Max(), card.Bonus(), card.BonusMax());
  const Json json = {{"score", card.Score() + card.Bonus()},
                     {"execution_time", std::isfinite(card.seconds) ? std::ceil(card.seconds) : 0.0},
                     {"output", fmt::format("{}. Seed {}.", points.empty() ? "Nothing was graded" : points, card.seed)},
                     {"output_format", "text"},
                     {"visibility", "visible"},
                     {"tests", std::move(tests)},
                     {"extra_data", {{"seed", card.seed}, {"libtorch", card.libtorch}, {"revision", card.revision}}}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace shardlab
