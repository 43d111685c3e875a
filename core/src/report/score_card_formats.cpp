#include <cmath>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "shardlab/base/xml.hpp"
#include "shardlab/report/score_card.hpp"

namespace shardlab {

using grade::CaseResult;
using grade::Status;

namespace {

using Json = nlohmann::ordered_json;

/// JSON knows neither infinity nor NaN.
Json FiniteOrNull(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json CaseJson(const CaseResult& result) {
  Json json = {
      {"id", result.id}, {"kind", Name(result.kind)}, {"status", Name(result.status)}, {"message", result.message}};
  if (result.has_figure) {
    json["measured"] = FiniteOrNull(result.measured);
    json["target"] = FiniteOrNull(result.target);
    json["unit"] = result.unit;
  }
  json["seconds"] = FiniteOrNull(result.seconds);
  return json;
}

Json PartJson(const PartScore& part) {
  Json cases = Json::array();
  for (const CaseResult& result : part.cases) cases.push_back(CaseJson(result));
  return {{"id", part.id},       {"title", part.title},         {"score", part.score},      {"max", part.max},
          {"bonus", part.bonus}, {"status", Name(part.status)}, {"cases", std::move(cases)}};
}

Json ModuleJson(const ModuleScore& module) {
  Json parts = Json::array();
  for (const PartScore& part : module.parts) parts.push_back(PartJson(part));
  return {{"id", module.id},       {"score", module.score},         {"max", module.max},
          {"bonus", module.bonus}, {"bonus_max", module.bonus_max}, {"parts", std::move(parts)}};
}

std::string FirstLine(const std::string& text) { return text.substr(0, text.find('\n')); }

struct Counts {
  int tests = 0, failures = 0, errors = 0, skipped = 0;
};

/// One <testcase>. What the student's values got wrong is a failure; a run that did not end by itself, or a file that
/// did not compile, is an error, as JUnit tells them apart.
std::string TestCase(const std::string& part, const std::string& name, Status status, const std::string& message,
                     double seconds, Counts& counts) {
  ++counts.tests;
  const std::string open = fmt::format("    <testcase classname=\"{}\" name=\"{}\" time=\"{:.3f}\"", EscapeXml(part),
                                       EscapeXml(name), std::isfinite(seconds) ? seconds : 0.0);
  if (status == Status::kPassed) return open + "/>\n";
  if (status == Status::kSkipped) {
    ++counts.skipped;
    return fmt::format("{}>\n      <skipped message=\"{}\"/>\n    </testcase>\n", open, EscapeXml(FirstLine(message)));
  }
  const bool failure = status == Status::kFailed || status == Status::kNotImplemented;
  ++(failure ? counts.failures : counts.errors);
  return fmt::format("{}>\n      <{} type=\"{}\" message=\"{}\">{}</{}>\n    </testcase>\n", open,
                     failure ? "failure" : "error", Name(status), EscapeXml(FirstLine(message)), EscapeXml(message),
                     failure ? "failure" : "error");
}

}  // namespace

std::string ToJson(const ScoreCard& card) {
  Json modules = Json::array();
  for (const ModuleScore& module : card.modules) modules.push_back(ModuleJson(module));
  const Json json = {{"schema", 1},
                     {"seed", card.seed},
                     {"flavour", card.flavour},
                     {"score", card.Score()},
                     {"max", card.Max()},
                     {"bonus", card.Bonus()},
                     {"bonus_max", card.BonusMax()},
                     {"seconds", FiniteOrNull(card.seconds)},
                     {"modules", std::move(modules)},
                     {"libtorch", card.libtorch},
                     {"revision", card.revision}};
  // What a student's program printed may be anything: bytes that are not UTF-8 are replaced, not fatal.
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string ToJUnit(const ScoreCard& card) {
  std::string suites;
  Counts all;
  for (const ModuleScore& module : card.modules) {
    std::string cases;
    Counts counts;
    double seconds = 0;
    for (const PartScore& part : module.parts) {
      if (part.cases.empty()) cases += TestCase(part.id, part.id, part.status, part.reason, 0, counts);
      for (const CaseResult& result : part.cases) {
        cases += TestCase(part.id, result.id, result.status, result.message, result.seconds, counts);
        seconds += std::isfinite(result.seconds) ? result.seconds : 0;
      }
    }
    suites += fmt::format(
        "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.3f}\">\n{}"
        "  </testsuite>\n",
        EscapeXml(module.id), counts.tests, counts.failures, counts.errors, counts.skipped, seconds, cases);
    all.tests += counts.tests;
    all.failures += counts.failures;
    all.errors += counts.errors;
    all.skipped += counts.skipped;
  }
  return fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<testsuites name=\"shardlab\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.3f}\">\n{}"
      "</testsuites>\n",
      all.tests, all.failures, all.errors, all.skipped, std::isfinite(card.seconds) ? card.seconds : 0.0, suites);
}

}  // namespace shardlab
