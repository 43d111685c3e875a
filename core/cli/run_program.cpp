#include "run_program.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

#include <fmt/format.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/launch/process.hpp"

namespace shardlab::cli {
namespace {

constexpr double kPatienceSeconds = 10;  // for a program that was told to end
constexpr int kLookMs = 100;

/// Tells a program to end when that is wanted, and ends it if it does not.
class Ending {
 public:
  Ending(pid_t pid, const std::atomic<bool>* cancel) : pid_(pid), cancel_(cancel) {}

  /// False when the program had to be killed, with all that it started.
  bool Look() {
    if (!deadline_ && cancel_ != nullptr && cancel_->load()) {
      kill(-pid_, SIGTERM);
      deadline_.emplace(kPatienceSeconds);
    }
    if (!deadline_ || !deadline_->Passed()) return true;
    for (const pid_t descendant : launch::DescendantsOf(pid_)) kill(descendant, SIGKILL);
    kill(-pid_, SIGKILL);
    return false;
  }

 private:
  pid_t pid_;
  const std::atomic<bool>* cancel_;
  std::optional<launch::Deadline> deadline_;
};

/// Calls `on_line` for every line of `descriptor` until its end.
void ReadLines(int descriptor, const RunOptions& options, Ending& ending) {
  std::string pending;
  std::array<char, 65536> buffer;
  launch::Deadline tick(kLookMs / 1e3);
  while (ending.Look()) {
    pollfd entry{descriptor, POLLIN, 0};
    const int ready = poll(&entry, 1, tick.Milliseconds());
    if (tick.Passed()) {
      tick = launch::Deadline(kLookMs / 1e3);
      if (options.on_tick) options.on_tick();
    }
    if (ready <= 0) continue;
    const ssize_t count = read(descriptor, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    pending.append(buffer.data(), static_cast<size_t>(count));
    size_t begin = 0;
    for (size_t end = pending.find('\n'); end != std::string::npos; end = pending.find('\n', begin)) {
      options.on_line(pending.substr(begin, end - begin));
      begin = end + 1;
    }
    pending.erase(0, begin);
  }
  if (!pending.empty()) options.on_line(pending);
}

}  // namespace

int RunProgram(const std::vector<std::string>& command, const RunOptions& options) {
  launch::ProgramSpec spec;
  spec.program = launch::FindProgram(command.at(0));
  if (spec.program.empty()) return 127;
  spec.arguments.assign(command.begin() + 1, command.end());
  spec.environment = options.environment;
  spec.channel = options.held;
  spec.end_signal = SIGTERM;
  launch::Fd read_end, write_end;
  if (options.on_line) {
    std::tie(read_end, write_end) = launch::MakePipe();
    spec.output = write_end.get();
  }
  const pid_t pid = launch::StartProgram(spec);
  write_end.Reset();
  Ending ending(pid, options.cancel);
  if (options.on_line) ReadLines(read_end.get(), options, ending);
  int status = 0;
  while (!launch::Reap(pid, kLookMs / 1e3, &status)) ending.Look();
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

void BecomeProgram(const std::string& program, const std::vector<std::string>& arguments) {
  std::vector<std::string> words = {program};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  execv(pointers[0], pointers.data());
  throw EnvironmentError(fmt::format("cannot start {}: {}", program, std::strerror(errno)));
}

}  // namespace shardlab::cli
