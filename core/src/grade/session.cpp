#include "shardlab/grade/session.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "grader.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/base/suggest.hpp"
#include "shardlab/launch/loopback.hpp"
#include "shardlab/launch/process.hpp"
#include "shardlab/launch/scope.hpp"

namespace shardlab::grade {

namespace {

constexpr int kMostSampledRanks = 4;
constexpr const char* kNotRun = "not run: the session ended before";

/// The graders of a module as one: one list of cases, then those of one after the other.
class Session {
 public:
  explicit Session(const SessionOptions& options) : options_(options), graders_(options.programs.size()) {
    // All load at the same time.
    for (size_t i = 0; i < graders_.size(); ++i) {
      graders_[i].grader = std::make_unique<Grader>(options, options.programs[i], &result_);
    }
  }

  SessionResult Run();

 private:
  struct Share {
    std::unique_ptr<Grader> grader;
    size_t first = 0;  // of the session's cases
    size_t cases = 0;
  };

  /// False when the session was cancelled before.
  bool ListCases();
  std::vector<bool> DrawReplays() const;

  const SessionOptions& options_;
  SessionResult result_;
  std::vector<Share> graders_;  // in the order in which they run
};

bool Session::ListCases() {
  std::vector<std::string> parts, names;
  std::set<int> ranks;
  for (Share& share : graders_) {
    const std::optional<CaseList> list = share.grader->AwaitCaseList();
    if (!list) return false;
    share.first = result_.listed.size();
    share.cases = list->cases.size();
    result_.listed.insert(result_.listed.end(), list->cases.begin(), list->cases.end());
    for (const std::string& part : list->parts) {
      if (std::find(parts.begin(), parts.end(), part) == parts.end()) parts.push_back(part);
    }
    names.insert(names.end(), list->names.begin(), list->names.end());
    ranks.insert(list->rank_counts.begin(), list->rank_counts.end());
    if (!list->libtorch.empty()) result_.libtorch = list->libtorch;
  }
  if (result_.listed.empty()) {
    const std::string name = options_.case_name.substr(0, options_.case_name.find('/'));
    if (!name.empty() && std::find(names.begin(), names.end(), name) == names.end()) {
      throw UsageError(UnknownName(fmt::format("case of {}", fmt::join(options_.parts, ", ")), name, names));
    }
    if (name != options_.case_name) {
      throw UsageError(fmt::format("there is no case {}, but {} on other numbers of ranks; --case {} runs it on all",
                                   options_.case_name, name, name));
    }
    throw UsageError(fmt::format("no case of {} fits what was asked for; it has cases of {} on {} ranks",
                                 options_.module, fmt::join(parts, ", "), fmt::join(ranks, ", ")));
  }
  const auto has_company = [](const ListedCase& listed) { return listed.ranks > 1; };
  if (!options_.sandbox && std::any_of(result_.listed.begin(), result_.listed.end(), has_company)) {
    const std::string why = launch::WhyNoLoopback();
    if (!why.empty()) throw EnvironmentError(why);
  }
  for (const ListedCase& listed : result_.listed) {
    CaseResult result;
    result.part = listed.part;
    result.id = listed.id;
    result.kind = listed.kind;
    result.message = kNotRun;
    result_.results.push_back(result);
  }
  if (options_.on_cases) options_.on_cases(result_.listed);
  return true;
}

std::vector<bool> Session::DrawReplays() const {
  std::vector<bool> replayed(result_.listed.size());
  std::map<std::pair<std::string, Kind>, std::vector<size_t>> cases;  // of each part, those that can be drawn
  for (size_t i = 0; i < result_.listed.size(); ++i) {
    const ListedCase& listed = result_.listed[i];
    if ((listed.kind != Kind::kCost && listed.kind != Kind::kValue) || listed.ranks < 2) continue;
    if (options_.replay == Replay::kAll) replayed[i] = true;
    if (options_.replay == Replay::kSample && listed.ranks <= kMostSampledRanks) {
      cases[{listed.part, listed.kind}].push_back(i);
    }
  }
  std::mt19937_64 random(options_.seed);
  for (const auto& [part, of_part] : cases) replayed[of_part[random() % of_part.size()]] = true;
  return replayed;
}

SessionResult Session::Run() {
  const int64_t begin_ns = launch::MonotonicNs();
  if (ListCases()) {
    const std::vector<bool> replayed = DrawReplays();
    for (Share& share : graders_) {
      if (share.cases > 0) share.grader->Run(share.first, replayed);
      share.grader.reset();
    }
  }
  if (options_.cancel != nullptr && options_.cancel->load()) {
    result_.cancelled = true;
    for (CaseResult& result : result_.results) {
      if (result.message == kNotRun) result.message = "not run: cancelled";
    }
  }
  result_.seconds = static_cast<double>(launch::MonotonicNs() - begin_ns) / 1e9;
  return std::move(result_);
}

}  // namespace

SessionResult RunGradeSession(const SessionOptions& options) {
  const auto nameless = [](const GraderPrograms& pair) { return pair.host.empty() || pair.referee.empty(); };
  if (options.programs.empty() || std::any_of(options.programs.begin(), options.programs.end(), nameless)) {
    throw ContractError("RunGradeSession: name the host and the referee program");
  }
  launch::HideMemory();
  return Session(options).Run();
}

}  // namespace shardlab::grade
