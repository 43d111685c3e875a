#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

/// \file
/// Processes, descriptors and shared memory, as the supervisor and the launcher need them: everything that is opened is
/// closed, everything that is started is ended, and every wait has a limit.

namespace shardlab::launch {

/// A file descriptor that is closed with its owner. Empty (-1) after a move.
class Fd {
 public:
  Fd() = default;
  /// Owns `fd`.
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() { Reset(); }
  /// Takes over what `other` owns.
  Fd(Fd&& other) noexcept : fd_(other.Release()) {}
  Fd& operator=(Fd&& other) noexcept {
    Reset(other.Release());
    return *this;
  }

  /// The descriptor, still owned.
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  /// The descriptor, no longer owned.
  int Release() { return std::exchange(fd_, -1); }
  /// Closes what it owns, and owns `fd`.
  void Reset(int fd = -1);

 private:
  int fd_ = -1;
};

/// Nanoseconds of CLOCK_MONOTONIC, the clock of announcements.
int64_t MonotonicNs();

/// A point in time that ends a wait.
class Deadline {
 public:
  /// `seconds` from now.
  explicit Deadline(double seconds);
  /// What is left, never negative.
  double seconds() const;
  /// Whether nothing is left.
  bool Passed() const { return seconds() <= 0; }
  /// For poll(): rounded up, at most `longest`.
  int Milliseconds(int longest = 3'600'000) const;

 private:
  int64_t end_ns_;
};

/// Memory that is passed between processes as a descriptor, of exactly `bytes` bytes (pages that nobody writes cost
/// nothing). Nobody can change its size any more. \throws EnvironmentError
Fd MakeSharedMemory(const char* name, int64_t bytes);
/// The same, with `content` that nobody can change any more.
Fd MakeSealedMemory(const char* name, const std::string& content);
/// A pipe: read end (non-blocking when told), write end. Both close on exec. \throws EnvironmentError
std::pair<Fd, Fd> MakePipe(bool non_blocking_read = false, int capacity = 0);
/// Two connected Unix sockets of `type` (SOCK_STREAM, SOCK_SEQPACKET), closed on exec. \throws EnvironmentError
std::pair<Fd, Fd> MakeSockets(int type);

/// Up to `limit` bytes that were written to shared memory from its start, made visible (see Visible); a note is added if
/// there was more. For that the memory is a page larger than the limit: of a page that goes beyond its end nothing is
/// written.
std::string PrintedTo(const Fd& memory, int64_t limit);

/// "SIGSEGV (invalid memory access)".
std::string SignalName(int signal);
/// "was killed by SIGSEGV (invalid memory access)", "ended with exit status 3"; from what waitpid gives.
std::string DescribeWaitStatus(int wait_status);

/// How many threads this process has, itself included.
int ThreadCount();
/// How many threads `pid` has; 0 when it has gone.
int ThreadCount(pid_t pid);

/// A program's path, searched in PATH unless its name has a slash; empty when there is none.
std::string FindProgram(const std::string& name);

/// A program to start.
struct ProgramSpec {
  std::string program;                             ///< its path
  std::vector<std::string> arguments;              ///< without the program's name
  std::map<std::string, std::string> environment;  ///< on top of the caller's
  int channel = -1;                                ///< becomes the program's descriptor 3
  int output = -1;                                 ///< becomes its standard output and error; -1: the caller's
  std::string folder;                              ///< where it runs; empty: the caller's
  bool inherit_environment = true;                 ///< false: it gets `environment` and nothing else
  bool scoped = false;                             ///< its rights end at its own processes: see EnterOwnScope
  int end_signal = 9;                              ///< what it gets when the calling thread ends: SIGKILL
  std::shared_ptr<const void> held;  ///< what has to last as long as the program: for whoever starts it to keep
  std::string filter;  ///< of system calls, from now on and for all that it starts: see SystemCallFilter; empty: none
  int filter_channel = -1;  ///< becomes its descriptor 4: a file with a filter, for bwrap to set up
};

/// Starts a program in a process group of its own, with an empty standard input, without core dumps. \throws EnvironmentError that says why it cannot be started
pid_t StartProgram(const ProgramSpec& spec);

/// LibTorch's libraries read these while they are loaded, so they must be set before: with more than one thread, ranks
/// that are forked later hang.
std::map<std::string, std::string> OneThreadEnvironment();

/// Reaps `pid`, waiting up to `limit_s`. False when it has not ended by then.
bool Reap(pid_t pid, double limit_s, int* wait_status = nullptr);

/// The processes whose parent is `pid`.
std::vector<pid_t> ChildrenOf(pid_t pid);
/// Those, theirs, and so on.
std::vector<pid_t> DescendantsOf(pid_t pid);

/// Kills `pid`, a child of this process, and everything that descends from it, and reaps it. What has outlived the process
/// that started it is found by a ProcessTree only.
void KillTree(pid_t pid);

}  // namespace shardlab::launch
