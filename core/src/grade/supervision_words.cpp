// What became of a case, in words: which rank's end is the root of it, where that happened, and what the others were
// doing.

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "supervision.hpp"

namespace shardlab::grade {
namespace {

/// For ranks that have not come to an end to write down where they are.
constexpr double kStackSeconds = 0.2;
/// Ranks whose stacks are named.
constexpr size_t kMostStacks = 16;

bool OfLibTorch(const std::string& library) {
  for (const char* name : {"libtorch", "libc10", "libdnnl", "libmkldnn", "libnnpack"}) {
    if (library.rfind(name, 0) == 0) return true;
  }
  return false;
}

/// "AllReduce, float64 [4] failed": an error of communication that only follows from another one, without the words of
/// the connection that broke.
std::string EchoText(const std::string& said) {
  const size_t type = said.find("CommError: ");
  const std::string text = type == std::string::npos ? said : said.substr(type + strlen("CommError: "));
  const size_t why = text.find(" failed: ");
  return why == std::string::npos ? text : text.substr(0, why) + " failed";
}

/// The first line, where it is short enough to be read beside the cause; empty: it is not, and half of it says nothing.
std::string WholeLine(const std::string& text) {
  constexpr size_t kReadable = 240;
  const std::string line = text.substr(0, text.find('\n'));
  return line.size() > kReadable ? "" : line;
}

}  // namespace

StackArea Supervision::StackOf(int rank) const {
  StackArea stack;
  const int memory = files_[static_cast<size_t>(rank)].output.get();
  if (pread(memory, &stack, sizeof stack, kStackAreaOffset) != sizeof stack || stack.count > StackArea::kMost)
    return {};
  return stack;
}

std::string Supervision::FailureText(int rank) const {
  bool crash = false;
  const std::string text = EndText(ended_[static_cast<size_t>(rank)], request_.limits, &crash);
  return crash ? text + "; " + StateText(rank) : text;
}

std::optional<Supervision::Conclusion> Supervision::RootFailure() {
  // Not implemented, then what a rank did on its own, then errors of communication, which may only be echoes.
  const auto order = [&](int rank) {
    const RankEnd& ended = ended_[static_cast<size_t>(rank)];
    const auto state = static_cast<RankStage>(ended.header.state);
    const int depth = state == RankStage::kNotImplemented ? 0 : state == RankStage::kThrewCommError ? 2 : 1;
    return std::make_pair(depth, ended.time_ns);
  };
  int root = -1;
  for (int rank = 0; rank < request_.ranks; ++rank) {
    const RankEnd& ended = ended_[static_cast<size_t>(rank)];
    if (ended.ended && !ended.clean && (root < 0 || order(rank) < order(root))) root = rank;
  }
  if (root < 0) return std::nullopt;
  const std::string text = FailureText(root);
  std::vector<int> same;
  for (int rank = 0; rank < request_.ranks; ++rank) {
    const RankEnd& ended = ended_[static_cast<size_t>(rank)];
    if (ended.ended && !ended.clean && FailureText(rank) == text) same.push_back(rank);
  }
  const RankStage stage = ended_[static_cast<size_t>(root)].stage();
  if (stage == RankStage::kNotImplemented) return Conclusion{Status::kNotImplemented, text};
  Conclusion conclusion{Status::kFailed, RanksText(same, request_.ranks) + " " + text, same};
  conclusion.after = ConsequencesText(same);
  if (stage == RankStage::kThrew || stage == RankStage::kThrewCommError) {
    if (last_posts_[static_cast<size_t>(root)].kind == RecordKind::kPost) {
      conclusion.after.insert(0, "\n    " + StateText(root));
    }
    return conclusion;
  }
  conclusion.status = Status::kCrashed;
  const std::string last =
      LastLines(launch::PrintedTo(files_[static_cast<size_t>(root)].printed, kRankPrintedLimit), 4);
  if (!last.empty()) conclusion.after += "\nthe last that it printed:\n" + last;
  return conclusion;
}

std::string Supervision::ConsequencesText(const std::vector<int>& causes) const {
  std::vector<std::string> lines;
  for (int rank = 0; rank < request_.ranks; ++rank) {
    const RankEnd& ended = ended_[static_cast<size_t>(rank)];
    if (!ended.ended || ended.clean || std::count(causes.begin(), causes.end(), rank) > 0) continue;
    if (ended.stage() == RankStage::kThrewCommError) {
      const std::string echo = WholeLine(EchoText(ended.said()));
      lines.push_back(fmt::format("\n  in consequence rank {}{}", rank, echo.empty() ? " failed too" : ": " + echo));
    } else {
      const std::string failure = WholeLine(FailureText(rank));
      lines.push_back(fmt::format("\n  then rank {} {}", rank, failure.empty() ? "failed too" : failure));
    }
  }
  constexpr size_t kMost = 3;
  std::string text = fmt::format("{}", fmt::join(lines.begin(), lines.begin() + std::min(lines.size(), kMost), ""));
  if (lines.size() > kMost) text += fmt::format("\n  and {} more ranks", lines.size() - kMost);
  return text;
}

std::string Supervision::StateText(int rank) const {
  const RankState state = matcher_.State(rank);
  if (state.kind == RankState::Kind::kReturned) return "has returned";
  if (state.kind == RankState::Kind::kBlocked && !state.operations.empty()) {
    return "waits in " + Describe(state.operations[0], state.groups.empty() ? "" : state.groups[0]);
  }
  const Record& last = last_posts_[static_cast<size_t>(rank)];
  if (last.kind != RecordKind::kPost) return "has not called the communicator yet";
  return "its last operation: " + Describe(last, "");
}

void Supervision::NoteStates() {
  for (int rank = 0; rank < request_.ranks; ++rank) {
    const RankEnd& ended = ended_[static_cast<size_t>(rank)];
    states_.push_back(ended.ended && ended.clean ? "has returned" : StateText(rank));
  }
}

void Supervision::AskForStacks() {
  for (const Host& host : hosts_) {
    if (host.running()) host.process->AskForStacks();
  }
  const auto written = [&] {
    for (int rank = 0; rank < request_.ranks; ++rank) {
      if (!ended_[static_cast<size_t>(rank)].ended && StackOf(rank).signal != kStackSignal) return false;
    }
    return true;
  };
  for (const launch::Deadline deadline(kStackSeconds); !written() && !deadline.Passed();) {
    Drain();  // a rank whose pipe is full does not get to it
    usleep(2000);
  }
}

std::string Supervision::NameStacks(const Conclusion& conclusion) {
  const bool late = conclusion.status == Status::kTimeout;
  size_t asked = 0;
  for (size_t host = 0; host < hosts_.size(); ++host) {
    std::vector<int> ranks;
    std::vector<std::vector<uint64_t>> addresses;
    for (int rank = 0; rank < request_.ranks && asked < kMostStacks; ++rank) {
      const StackArea stack = StackOf(rank);
      const bool culprit = std::count(conclusion.culprits.begin(), conclusion.culprits.end(), rank) > 0;
      const bool wanted = stack.count > 0 && (late ? stack.signal == kStackSignal : culprit);
      if (!wanted || HostOf(rank) != host || !hosts_[host].alive || !hosts_[host].done) continue;
      ++asked;
      ranks.push_back(rank);
      addresses.emplace_back(stack.addresses, stack.addresses + stack.count);
    }
    if (ranks.empty()) continue;
    const auto named = hosts_[host].process->NameStacks(addresses);
    for (size_t i = 0; i < ranks.size(); ++i) {
      const RankEnd& ended = ended_[static_cast<size_t>(ranks[i])];
      if (!late && OfLibTorch(named[i].library) && WTERMSIG(ended.wait_status) == SIGFPE)
        libtorch_divides_by_zero_ = true;
      if (named[i].frames.empty()) continue;
      stacks_.push_back({ranks[i], late ? "still running" : WhyText(ended), named[i].frames});
    }
  }
  if (!late) return stacks_.empty() ? "" : FramesText(stacks_[0].frames, "    ");
  std::string text;
  for (int rank = 0; rank < request_.ranks; ++rank) {
    text += fmt::format("\n  rank {}: {}", rank, states_[static_cast<size_t>(rank)]);
    for (const RankStack& stack : stacks_) {
      if (stack.rank == rank) text += FramesText(stack.frames, "      ");
    }
  }
  return text;
}

}  // namespace shardlab::grade
