#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "shardlab/report/score_card_text.hpp"

namespace shardlab {

using grade::CaseResult;
using grade::Kind;
using grade::Status;

namespace {

constexpr std::array<Kind, 4> kKinds = {Kind::kValue, Kind::kGradient, Kind::kCost, Kind::kRobustness};

/// How many cases of one kind a part has, and how many of them passed.
struct Tally {
  int cases = 0;
  int passed = 0;
  bool complete() const { return cases > 0 && passed == cases; }
};

Tally Count(const PartScore& part, Kind kind) {
  Tally tally;
  for (const CaseResult& result : part.cases) {
    if (result.kind != kind) continue;
    ++tally.cases;
    tally.passed += result.status == Status::kPassed ? 1 : 0;
  }
  return tally;
}

std::string Names(const std::vector<Kind>& kinds) {
  std::string names;
  for (size_t i = 0; i < kinds.size(); ++i) {
    if (i > 0) names += i + 1 == kinds.size() ? " and " : ", ";
    names += Name(kinds[i]);
  }
  return names;
}

}  // namespace

std::vector<std::string> MissingPoints(const PartScore& part) {
  const bool ran = std::any_of(part.cases.begin(), part.cases.end(), [](const CaseResult& result) {
    return result.status != Status::kSkipped && result.status != Status::kNotImplemented &&
           result.status != Status::kDoesNotCompile;
  });
  if (!ran || part.status == Status::kPassed || part.status == Status::kDoesNotCompile) return {};
  std::vector<Kind> open, others;
  for (const Kind kind : kKinds) {
    const Tally tally = Count(part, kind);
    if (tally.cases > 0 && kind != Kind::kValue) others.push_back(kind);
    if (tally.cases > 0 && !tally.complete()) open.push_back(kind);
  }
  const bool has_value = Count(part, Kind::kValue).cases > 0;
  std::vector<std::string> lines;
  for (const Kind kind : open) {
    double gain = has_value ? part.max / 2 : part.max;
    if (kind != Kind::kValue) {
      gain /= static_cast<double>(others.size());
    } else if (others.empty()) {
      gain = part.max;
    }
    const Tally tally = Count(part, kind);
    std::string line = fmt::format("+{} when all {} cases pass ({} of {} do)", PrettyPoints(gain), Name(kind),
                                   tally.passed, tally.cases);
    // Before the value cases pass no other kind gives a point: one line for all of them.
    if (kind == Kind::kValue && !others.empty()) {
      line += open.size() == 1 ? ", and the rest with it" : "; the rest is for " + Names(others);
    }
    lines.push_back(line);
    if (kind == Kind::kValue) break;
  }
  return lines;
}

}  // namespace shardlab
