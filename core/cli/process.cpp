#include "process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include <fmt/format.h>

#include "shardlab/base/errors.hpp"

namespace shardlab::cli {
namespace {

volatile std::sig_atomic_t child_pid = 0;
volatile std::sig_atomic_t arrived = 0;

/// A signal of the terminal (SI_KERNEL) has reached the child already; one that somebody sent to `lab` has not.
void PassOn(int signal, siginfo_t* info, void*) {
  arrived = signal;
  if (info->si_code != SI_KERNEL && child_pid > 0) kill(static_cast<pid_t>(child_pid), signal);
}

/// While it lives, the three signals that end a program are passed on.
class SignalForwarder {
 public:
  SignalForwarder() {
    struct sigaction action {};
    action.sa_sigaction = PassOn;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &action, &before_[i]);
  }
  ~SignalForwarder() {
    for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &before_[i], nullptr);
  }
  SignalForwarder(const SignalForwarder&) = delete;
  SignalForwarder& operator=(const SignalForwarder&) = delete;

 private:
  static constexpr std::array<int, 3> kSignals = {SIGINT, SIGTERM, SIGHUP};
  std::array<struct sigaction, 3> before_{};
};

std::vector<char*> Pointers(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

/// Calls `on_line` for every line of `descriptor` until its end.
void ReadLines(int descriptor, const std::function<void(const std::string&)>& on_line) {
  std::string pending;
  std::array<char, 65536> buffer;
  while (true) {
    const ssize_t count = read(descriptor, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    pending.append(buffer.data(), static_cast<size_t>(count));
    size_t begin = 0;
    for (size_t end = pending.find('\n'); end != std::string::npos; end = pending.find('\n', begin)) {
      on_line(pending.substr(begin, end - begin));
      begin = end + 1;
    }
    pending.erase(0, begin);
  }
  if (!pending.empty()) on_line(pending);
}

}  // namespace

int RunProcess(const std::vector<std::string>& command, const ProcessOptions& options) {
  std::vector<std::string> words = command;
  const std::vector<char*> arguments = Pointers(words);
  std::array<int, 2> lines = {-1, -1};
  if (options.on_line && pipe2(lines.data(), O_CLOEXEC) != 0) {
    throw EnvironmentError(fmt::format("cannot start {}: {}", command.at(0), std::strerror(errno)));
  }
  arrived = 0;
  const SignalForwarder forwarder;
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) {
    const int error = errno;
    if (options.on_line) {
      close(lines[0]);
      close(lines[1]);
    }
    throw EnvironmentError(fmt::format("cannot start {}: {}", command.at(0), std::strerror(error)));
  }
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(127);
    if (options.on_line) {
      dup2(lines[1], STDOUT_FILENO);
      dup2(lines[1], STDERR_FILENO);
    }
    for (const auto& [name, value] : options.environment) setenv(name.c_str(), value.c_str(), 1);
    execvp(arguments[0], arguments.data());
    _exit(127);
  }
  child_pid = pid;
  if (options.on_line) {
    close(lines[1]);
    ReadLines(lines[0], options.on_line);
    close(lines[0]);
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  child_pid = 0;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int SignalDuringProcess() { return arrived; }

void BecomeProgram(const std::string& program, const std::vector<std::string>& arguments) {
  std::vector<std::string> words = {program};
  words.insert(words.end(), arguments.begin(), arguments.end());
  const std::vector<char*> pointers = Pointers(words);
  execv(pointers[0], pointers.data());
  throw EnvironmentError(fmt::format("cannot start {}: {}", program, std::strerror(errno)));
}

}  // namespace shardlab::cli
