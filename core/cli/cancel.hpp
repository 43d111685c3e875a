#pragma once

#include <signal.h>

#include <array>
#include <atomic>
#include <csignal>

namespace shardlab::cli {

/// While it lives, the first SIGINT, SIGTERM or SIGHUP sets a flag, so that the work under way ends in an orderly way; a
/// second one ends the program at once. A program that dies while it is written to does not end this one.
///
/// Signals belong to the whole process: for the commands that a person types, one at a time.
class CancelOnSignal {
 public:
  CancelOnSignal();
  ~CancelOnSignal();
  CancelOnSignal(const CancelOnSignal&) = delete;
  CancelOnSignal& operator=(const CancelOnSignal&) = delete;

  /// Whether a signal has arrived.
  const std::atomic<bool>* flag() const;
  /// Which, or 0.
  int signal() const;
  /// Ends the command if one has. \throws Interrupted
  void Check() const;

 private:
  static constexpr std::array<int, 3> kSignals = {SIGINT, SIGTERM, SIGHUP};
  std::array<struct sigaction, 3> before_{};
  void (*before_pipe_)(int) = SIG_DFL;
};

/// Ended by Ctrl-C or another signal. Not an error: what there is so far is still worth writing.
struct Interrupted {
  int signal = 0;
};

}  // namespace shardlab::cli
