#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <string>
#include <vector>

/// \file
/// Programs that `lab` starts: cmake, ctest, diff, git, and its own.

namespace shardlab::cli {

struct RunOptions {
  /// Set for the program in addition to the environment.
  std::map<std::string, std::string> environment;
  /// Called with each line that the program writes to standard output or standard error, without its end. Empty: the
  /// program writes where `lab` writes.
  std::function<void(const std::string&)> on_line;
  /// Called ten times a second, besides `on_line`.
  std::function<void()> on_tick;
  /// Once that is true, the program and what it started get SIGTERM, and SIGKILL if they go on for ten seconds.
  const std::atomic<bool>* cancel = nullptr;
  /// A descriptor that the program and all that it starts keep open as their descriptor 3, or -1.
  int held = -1;
};

/// Runs a program (found in PATH unless its name has a slash) to its end, in a process group of its own and with an
/// empty standard input. It is told to end when the calling thread does. Several threads may run programs at a time.
/// \return the exit status, 128 + n for a program that signal n ended, 127 if there is no such program.
int RunProgram(const std::vector<std::string>& command, const RunOptions& options = {});

/// Becomes the program: signals and the exit status need no passing on. Returns only if that fails.
/// \throws EnvironmentError that names the program and the cause.
[[noreturn]] void BecomeProgram(const std::string& program, const std::vector<std::string>& arguments);

}  // namespace shardlab::cli
