#include "failure.hpp"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "shardlab/launch/process.hpp"

namespace shardlab::grade {
namespace {

/// Below this lies no object: an access here went through a null pointer, or a member of what one pointed to.
constexpr uint64_t kNullPage = 4096;

std::string SignalText(const RankEnd& end, const Limits& limits) {
  const int signal = WTERMSIG(end.wait_status);
  const StackArea& stack = end.stack;
  const bool known = stack.count > 0 && stack.signal == signal;
  if (signal == SIGXFSZ) {
    return fmt::format("was ended (SIGXFSZ): it wrote more than {} to one file, which is the limit",
                       SizeText(limits.file_bytes));
  }
  if (signal == SIGXCPU)
    return "was ended (SIGXCPU): it took more processor time than a case may, all threads together";
  if (known && stack.overflow != 0) {
    return "was killed by SIGSEGV: its stack is full, from a recursion without end or a huge local array";
  }
  std::string text = launch::DescribeWaitStatus(end.wait_status);
  if (known && signal == SIGSEGV && stack.fault < kNullPage) {
    text = "was killed by SIGSEGV (access through a null pointer)";
  }
  if (known && stack.main_thread == 0) text += ", in a thread beside its main one";
  return text;
}

}  // namespace

std::string EndText(const RankEnd& end, const Limits& limits, bool* crash) {
  const bool exited = WIFEXITED(end.wait_status);
  *crash = false;
  switch (end.stage()) {
    case RankStage::kNotImplemented:
      return end.said();
    case RankStage::kThrew:
    case RankStage::kThrewCommError: {
      std::string text = "threw " + end.said();
      if (text.find("Too many open files") != std::string::npos) {
        text += fmt::format(" (a rank may have {} files and connections open)", limits.open_files);
      }
      return text;
    }
    case RankStage::kExited:
      return fmt::format("called exit({}) in the middle of the body", end.header.exit_code);
    case RankStage::kTerminated:
      if (exited) break;
      return fmt::format(
          "was ended by std::terminate ({}): {}",
          WTERMSIG(end.wait_status) == SIGABRT ? "SIGABRT" : launch::SignalName(WTERMSIG(end.wait_status)), end.said());
    case RankStage::kReturned:
      return exited ? fmt::format("returned, but then ended with exit status {}", WEXITSTATUS(end.wait_status))
                    : "returned, but then " + SignalText(end, limits);
    default:
      break;
  }
  *crash = true;
  if (!exited) return SignalText(end, limits);
  return fmt::format("ended with _exit({}) {}", WEXITSTATUS(end.wait_status),
                     end.begun ? "in the middle of the body" : "and left no word of how far it came");
}

std::string WhyText(const RankEnd& end) {
  if (!end.ended) return "still running";
  if (end.stage() == RankStage::kThrew || end.stage() == RankStage::kThrewCommError) return "exception";
  if (end.stage() == RankStage::kTerminated) return "std::terminate";
  const char* name = WIFSIGNALED(end.wait_status) ? sigabbrev_np(WTERMSIG(end.wait_status)) : nullptr;
  return name != nullptr ? fmt::format("SIG{}", name) : "exit";
}

std::string FramesText(const std::vector<StackFrame>& frames, const char* indent) {
  std::string text;
  for (const StackFrame& frame : frames) {
    text += fmt::format("\n{}at {}{}", indent, frame.function.empty() ? "?" : frame.function,
                        frame.where.empty() ? "" : fmt::format(" ({})", frame.where));
  }
  return text;
}

std::string RanksText(const std::vector<int>& ranks, int all) {
  if (static_cast<int>(ranks.size()) == all && all > 1) return "every rank";
  if (ranks.size() == 1) return fmt::format("rank {}", ranks[0]);
  return fmt::format("ranks {} and {}", fmt::join(ranks.begin(), ranks.end() - 1, ", "), ranks.back());
}

std::string LastLines(const std::string& text, int lines) {
  size_t end = text.find_last_not_of("\n ");
  if (end == std::string::npos) return "";
  ++end;
  size_t begin = end;
  while (begin > 0 && (lines -= text[begin - 1] == '\n' ? 1 : 0) > 0) --begin;
  return text.substr(begin, end - begin);
}

std::string SizeText(int64_t bytes) {
  static const char* const kUnits[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 1024 && unit + 1 < std::size(kUnits); ++unit) value /= 1024;
  return fmt::format("{:.3g} {}", value, kUnits[unit]);
}

std::vector<Waiting> WaitsOf(const Verdict& verdict) {
  std::vector<Waiting> waits;
  for (const WaitFor& wait : verdict.waits) {
    Record bare = wait.operation;
    bare.line = 0;  // has a member of its own
    waits.push_back({wait.rank, wait.missing, Describe(bare, wait.group),
                     wait.operation.line > 0 ? fmt::format("{}:{}", wait.operation.name, wait.operation.line) : "",
                     wait.in_cycle});
  }
  return waits;
}

}  // namespace shardlab::grade
