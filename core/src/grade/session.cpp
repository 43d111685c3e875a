#include "shardlab/grade/session.hpp"

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "replay_runner.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/grade/case_runner.hpp"
#include "shardlab/grade/wire.hpp"
#include "shardlab/launch/process.hpp"
#include "shardlab/launch/scope.hpp"

namespace shardlab::grade {

using launch::Deadline;
using nlohmann::json;

namespace {

constexpr int64_t kPrintedLimit = 256 << 10;
constexpr double kSendLimit = 30;
constexpr int kMostSampledRanks = 4;

/// The referee program, killed with its owner.
class Referee {
 public:
  explicit Referee(const SessionOptions& options) : program_(options.referee_program) {
    auto [mine, theirs] = launch::MakeSockets(SOCK_STREAM);
    printed_ = launch::MakeSharedMemory("shardlab-referee-printed", kPrintedLimit + 4096);
    launch::ProgramSpec spec;
    spec.program = program_;
    spec.arguments = {"--supervisor-fd=3", "--module=" + options.module};
    for (const std::string& part : options.parts) spec.arguments.push_back("--part=" + part);
    if (!options.case_filter.empty()) spec.arguments.push_back("--case=" + options.case_filter);
    if (options.ranks > 0) spec.arguments.push_back(fmt::format("--ranks={}", options.ranks));
    // The oracle is one process; with one thread it is also the same on every machine.
    spec.environment = launch::OneThreadEnvironment();
    spec.channel = theirs.get();
    spec.output = printed_.get();
    pid_ = launch::StartProgram(spec);
    channel_ = std::make_unique<Channel>(std::move(mine));
  }
  ~Referee() { launch::KillTree(pid_); }

  Channel& channel() { return *channel_; }
  pid_t pid() const { return pid_; }

  [[noreturn]] void Blame(const std::string& what) const {
    const std::string printed = launch::PrintedTo(printed_, kPrintedLimit);
    std::string last = printed.substr(printed.size() > 4000 ? printed.size() - 4000 : 0);
    throw EnvironmentError(fmt::format("the referee {} {}{}{}", program_, what,
                                       last.empty() ? " (it printed nothing)" : "; the last that it printed:\n", last));
  }

 private:
  std::string program_;
  std::unique_ptr<Channel> channel_;
  launch::Fd printed_;
  pid_t pid_ = -1;
};

class Session {
 public:
  explicit Session(const SessionOptions& options)
      : options_(options),
        runner_(options.host_program, options.startup_limit_s, options.sandbox),
        replayer_(options.host_program, options.startup_limit_s, options.sandbox,
                  [this](pid_t host) { runner_.Keep(host); }),
        referee_(options) {
    runner_.Keep(referee_.pid());
  }

  SessionResult Run();

 private:
  bool Cancelled() const { return options_.cancel != nullptr && options_.cancel->load(); }
  /// The referee's next message; nothing when the session was cancelled.
  std::optional<Message> Next(double limit_s);
  void Answer(const Message& message);
  void TakePlan(const json& plan);
  void Handle(const Message& message);
  void Finish(CaseResult result);
  void DrawReplays();

  const SessionOptions& options_;
  CaseRunner runner_;
  ReplayRunner replayer_;
  Referee referee_;  // ends before the runner, which then kills what both left behind
  SessionResult result_;
  std::vector<bool> judged_;
  std::vector<bool> replayed_;  // which cases are to be
  int current_ = -1;
  json evidence_ = json::object();  // what the runner saw of the current case
};

std::optional<Message> Session::Next(double limit_s) {
  const Deadline deadline(limit_s);
  try {
    while (!Cancelled()) {
      if (auto message = referee_.channel().Receive(std::min(0.1, deadline.seconds()))) return message;
      if (deadline.Passed()) referee_.Blame(fmt::format("has said nothing for {:g} s", limit_s));
    }
  } catch (const WireError& error) {
    referee_.Blame(fmt::format("failed: {}", error.what()));
  }
  return std::nullopt;
}

void Session::Answer(const Message& message) {
  try {
    referee_.channel().Send(message, kSendLimit);
  } catch (const WireError& error) {
    referee_.Blame(fmt::format("failed: {}", error.what()));
  }
}

void Session::TakePlan(const json& plan) {
  result_.libtorch = plan.at("libtorch").get<std::string>();
  result_.planned = plan.at("cases").get<std::vector<PlannedCase>>();
  if (result_.planned.empty()) {
    const auto parts = plan.at("parts").get<std::vector<std::string>>();
    const auto ranks = plan.at("rank_counts").get<std::vector<int>>();
    throw UsageError(fmt::format("no case of {} fits what was asked for; it has cases of {} on {} ranks",
                                 options_.module, fmt::join(parts, ", "), fmt::join(ranks, ", ")));
  }
  for (const PlannedCase& planned : result_.planned) {
    CaseResult result;
    result.part = planned.part;
    result.id = planned.id;
    result.kind = planned.kind;
    result.message = "not run: the session ended before";
    result_.results.push_back(result);
  }
  judged_.resize(result_.planned.size());
  DrawReplays();
  if (options_.on_plan) options_.on_plan(result_.planned);
}

void Session::DrawReplays() {
  replayed_.assign(result_.planned.size(), false);
  std::map<std::pair<std::string, Kind>, std::vector<size_t>> cases;  // of each part, those that can be drawn
  for (size_t i = 0; i < result_.planned.size(); ++i) {
    const PlannedCase& planned = result_.planned[i];
    if ((planned.kind != Kind::kCost && planned.kind != Kind::kValue) || planned.ranks < 2) continue;
    if (options_.replay == Replay::kAll) replayed_[i] = true;
    if (options_.replay == Replay::kSample && planned.ranks <= kMostSampledRanks) {
      cases[{planned.part, planned.kind}].push_back(i);
    }
  }
  std::mt19937_64 random(options_.seed);
  for (const auto& [part, of_part] : cases) replayed_[of_part[random() % of_part.size()]] = true;
}

void Session::Finish(CaseResult result) {
  const auto index = static_cast<size_t>(current_);
  // Which case this is, the plan says.
  result.part = result_.planned[index].part;
  result.id = result_.planned[index].id;
  result.kind = result_.planned[index].kind;
  // A case may want a run to go wrong: then there is nothing to show.
  if (result.status != Status::kPassed) result.evidence.update(evidence_);
  result_.results[index] = result;
  judged_[index] = true;
  current_ = -1;
  if (options_.on_result) options_.on_result(result);
}

void Session::Handle(const Message& message) {
  const std::string type = message.header.at("type").get<std::string>();
  if (type == "start") {
    const int index = message.header.at("index").get<int>();
    if (index < 0 || index >= static_cast<int>(result_.planned.size()) || judged_[static_cast<size_t>(index)]) {
      referee_.Blame(fmt::format("started case {}, which is not left to be judged", index));
    }
    current_ = index;
    evidence_ = json::object();
    const PlannedCase& planned = result_.planned[static_cast<size_t>(index)];
    const std::string reason = options_.skip ? options_.skip(planned) : "";
    if (reason.empty()) {
      if (options_.on_start) options_.on_start(planned);
      // The seed goes this way because everybody on the machine can read a command line, and with the seed all inputs
      // of all ranks are known.
      Answer({{{"type", "go"}, {"seed", options_.seed}, {"replay", bool{replayed_[static_cast<size_t>(index)]}}}, {}});
      return;
    }
    CaseResult skipped;
    skipped.status = Status::kSkipped;
    skipped.message = reason;
    Finish(skipped);
    Answer({{{"type", "skip"}, {"reason", reason}}, {}});
    return;
  }
  if (current_ < 0) referee_.Blame("spoke of a case that it had not started");
  if (type == "run") {
    Message answer;
    try {
      CaseRequest request = RequestFrom(message);
      request.observed = options_.observed;
      // Delays are trouble on the way between two ranks, which a replay takes away.
      const bool replay = message.header.value("replay", false) && request.faults.delay_s == 0;
      const CaseOutcome outcome =
          replay ? replayer_.Run(request, options_.cancel) : runner_.Run(request, options_.cancel);
      if (options_.on_run) options_.on_run(result_.planned[static_cast<size_t>(current_)], outcome);
      if (Cancelled()) return;
      // A case may run several times; what went wrong last is what its message is about.
      if (!outcome.waits.empty()) evidence_["waits"] = outcome.waits;
      if (!outcome.stacks.empty()) evidence_["stacks"] = outcome.stacks;
      answer = ToMessage(outcome);
    } catch (const ContractError& error) {
      answer.header = {{"type", "refused"}, {"why", error.what()}};
    } catch (const FrameError& error) {
      answer.header = {{"type", "refused"}, {"why", error.what()}};
    }
    Answer(answer);
  } else if (type == "curve") {
    LearningCurve curve = message.header.at("curve").get<LearningCurve>();
    curve.part = result_.planned[static_cast<size_t>(current_)].part;
    curve.id = result_.planned[static_cast<size_t>(current_)].id;
    if (options_.on_curve) options_.on_curve(curve);
    result_.curves.push_back(std::move(curve));
  } else if (type == "result") {
    Finish(message.header.at("result").get<CaseResult>());
  } else {
    referee_.Blame(fmt::format("said '{}', which means nothing", type));
  }
}

SessionResult Session::Run() {
  const int64_t begin_ns = launch::MonotonicNs();
  try {
    if (auto plan = Next(options_.startup_limit_s)) {
      TakePlan(plan->header);
      while (auto message = Next(options_.case_limit_s)) {
        if (message->header.at("type") == "end") break;
        Handle(*message);
      }
    }
  } catch (const json::exception& error) {
    referee_.Blame(fmt::format("sent a message that cannot be read ({})", error.what()));
  }
  if (Cancelled()) {
    result_.cancelled = true;
    for (size_t i = 0; i < judged_.size(); ++i) {
      if (!judged_[i]) result_.results[i].message = "not run: cancelled";
    }
  }
  result_.seconds = static_cast<double>(launch::MonotonicNs() - begin_ns) / 1e9;
  return std::move(result_);
}

}  // namespace

SessionResult RunGradeSession(const SessionOptions& options) {
  if (options.host_program.empty() || options.referee_program.empty()) {
    throw ContractError("RunGradeSession: name the host and the referee program");
  }
  launch::BecomeSubreaper();
  launch::HideMemory();
  return Session(options).Run();
}

}  // namespace shardlab::grade
