#include "grader.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/visible.hpp"

namespace shardlab::grade {

using launch::Deadline;
using nlohmann::json;

namespace {

constexpr int64_t kRefereePrintedLimit = 256 << 10;
constexpr double kSendLimit = 30;

/// The referee shows what ranks handed back, text of plain bodies too.
void MakeVisible(json* value) {
  if (value->is_string()) *value = Visible(value->get<std::string>());
  if (!value->is_structured()) return;
  for (json& part : *value) MakeVisible(&part);
}

}  // namespace

RefereeProcess::RefereeProcess(const SessionOptions& options, const std::string& program) : program_(program) {
  auto [mine, theirs] = launch::MakeSockets(SOCK_STREAM);
  printed_ = launch::MakeSharedMemory("shardlab-referee-printed", kRefereePrintedLimit + 4096);
  launch::ProgramSpec spec;
  spec.program = program_;
  spec.arguments = {"--supervisor-fd=3", "--module=" + options.module};
  for (const std::string& part : options.parts) spec.arguments.push_back("--part=" + part);
  if (!options.case_filter.empty()) spec.arguments.push_back("--case=" + options.case_filter);
  if (!options.case_name.empty()) spec.arguments.push_back("--case-name=" + options.case_name);
  for (const std::string& id : options.first) spec.arguments.push_back("--first=" + id);
  if (options.ranks > 0) spec.arguments.push_back(fmt::format("--ranks={}", options.ranks));
  // The oracle is one process; with one thread it is also the same on every machine.
  spec.environment = launch::OneThreadEnvironment();
  spec.channel = theirs.get();
  spec.output = printed_.get();
  pid_ = launch::StartProgram(spec);
  channel_ = std::make_unique<Channel>(std::move(mine));
}

void RefereeProcess::Blame(const std::string& what) const {
  const std::string printed = launch::PrintedTo(printed_, kRefereePrintedLimit);
  std::string last = printed.substr(printed.size() > 4000 ? printed.size() - 4000 : 0);
  throw EnvironmentError(fmt::format("the referee {} {}{}{}", program_, what,
                                     last.empty() ? " (it printed nothing)" : "; the last that it printed:\n", last));
}

void Grader::BlameFor(const json::exception& error) {
  referee_.Blame(fmt::format("sent a message that cannot be read ({})", error.what()));
}

std::optional<Message> Grader::Next(double limit_s) {
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

void Grader::Answer(const Message& message) {
  try {
    referee_.channel().Send(message, kSendLimit);
  } catch (const WireError& error) {
    referee_.Blame(fmt::format("failed: {}", error.what()));
  }
}

std::optional<CaseList> Grader::AwaitCaseList() {
  const auto message = Next(options_.startup_limit_s);
  if (!message) return std::nullopt;
  CaseList list;
  try {
    message->header.at("cases").get_to(list.cases);
    message->header.at("parts").get_to(list.parts);
    message->header.at("names").get_to(list.names);
    message->header.at("rank_counts").get_to(list.rank_counts);
    message->header.at("libtorch").get_to(list.libtorch);
  } catch (const json::exception& error) {
    BlameFor(error);
  }
  judged_.resize(list.cases.size());
  return list;
}

void Grader::Run(size_t first, const std::vector<bool>& replayed) {
  first_ = first;
  const auto begin = replayed.begin() + static_cast<std::ptrdiff_t>(first);
  replayed_.assign(begin, begin + static_cast<std::ptrdiff_t>(judged_.size()));
  try {
    while (auto message = Next(options_.case_limit_s)) {
      if (message->header.at("type") == "end") break;
      Handle(std::move(*message));
    }
  } catch (const json::exception& error) {
    BlameFor(error);
  }
}

void Grader::Finish(CaseResult result) {
  const size_t index = first_ + static_cast<size_t>(current_);
  // Which case this is, the list says.
  result.part = session_.listed[index].part;
  result.id = session_.listed[index].id;
  result.kind = session_.listed[index].kind;
  result.message = Visible(result.message);
  MakeVisible(&result.evidence);
  // A case may want a run to go wrong: then there is nothing to show.
  if (result.status != Status::kPassed) result.evidence.update(evidence_);
  session_.results[index] = result;
  judged_[static_cast<size_t>(current_)] = true;
  current_ = -1;
  if (options_.on_result) options_.on_result(result);
}

void Grader::Start(int index) {
  if (index < 0 || index >= static_cast<int>(judged_.size()) || judged_[static_cast<size_t>(index)]) {
    referee_.Blame(fmt::format("started case {}, which is not left to be judged", index));
  }
  current_ = index;
  evidence_ = json::object();
  const ListedCase& listed = session_.listed[first_ + static_cast<size_t>(index)];
  const std::string reason = options_.skip ? options_.skip(listed) : "";
  if (reason.empty()) {
    if (options_.on_start) options_.on_start(listed);
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
}

Message Grader::RunBody(Message message) {
  CaseRequest request = RequestFrom(std::move(message));
  request.observed = options_.observed;
  // Delays are trouble on the way between two ranks, which a replay takes away.
  request.replay = request.replay && request.faults.delay_s == 0;
  const CaseOutcome outcome = runner_.Run(request, options_.cancel);
  if (options_.on_run) options_.on_run(session_.listed[first_ + static_cast<size_t>(current_)], outcome);
  // A case may run several times; what went wrong last is what its message is about.
  if (!outcome.waits.empty()) evidence_["waits"] = outcome.waits;
  if (!outcome.stacks.empty()) evidence_["stacks"] = outcome.stacks;
  return ToMessage(outcome);
}

void Grader::Handle(Message message) {
  const std::string type = message.header.at("type").get<std::string>();
  if (type == "start") return Start(message.header.at("index").get<int>());
  if (current_ < 0) referee_.Blame("spoke of a case that it had not started");
  if (type == "run") {
    Message answer;
    try {
      answer = RunBody(std::move(message));
    } catch (const ContractError& error) {
      answer.header = {{"type", "refused"}, {"why", error.what()}};
    }
    if (!Cancelled()) Answer(answer);
  } else if (type == "curve") {
    LearningCurve curve = message.header.at("curve").get<LearningCurve>();
    curve.part = session_.listed[first_ + static_cast<size_t>(current_)].part;
    curve.id = session_.listed[first_ + static_cast<size_t>(current_)].id;
    if (options_.on_curve) options_.on_curve(curve);
    session_.curves.push_back(std::move(curve));
  } else if (type == "result") {
    Finish(message.header.at("result").get<CaseResult>());
  } else {
    referee_.Blame(fmt::format("said '{}', which means nothing", type));
  }
}

}  // namespace shardlab::grade
