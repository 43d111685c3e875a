#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

/// \file
/// Programs that `lab` starts: cmake, ctest, diff, git, and its own.

namespace shardlab::cli {

struct ProcessOptions {
  /// Set for the child in addition to the environment.
  std::vector<std::pair<std::string, std::string>> environment;
  /// Called with each line that the child writes to standard output or standard error, without its end. Empty: the
  /// child writes where `lab` writes.
  std::function<void(const std::string&)> on_line;
};

/// Runs a program (found in PATH unless its name has a slash) to its end. The child dies with `lab`.
///
/// Ctrl-C reaches the child from the terminal; a SIGINT, SIGTERM or SIGHUP that only `lab` gets is passed on.
/// \return the exit status, 128 + n for a child that signal n ended, 127 if there is no such program.
int RunProcess(const std::vector<std::string>& command, const ProcessOptions& options = {});

/// The signal (SIGINT, SIGTERM, SIGHUP) that arrived while the last RunProcess() ran, or 0.
int SignalDuringProcess();

/// Becomes the program: signals and the exit status need no passing on. Returns only if that fails.
/// \throws EnvironmentError that names the program and the cause.
[[noreturn]] void BecomeProgram(const std::string& program, const std::vector<std::string>& arguments);

}  // namespace shardlab::cli
