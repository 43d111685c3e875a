#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "shardlab/comm/communicator.hpp"

/// \file
/// Ranks as child processes of this one, for tests and for training on one machine.

namespace shardlab {

/// How a rank failed.
struct RankFailure {
  int rank = 0;         ///< which one
  std::string message;  ///< "threw ...", "was killed by SIGSEGV (invalid memory access)", "did not return within 10 s"
  bool not_implemented = false;  ///< a stub was called; `message` is its task
  bool usage = false;            ///< a UsageError or ContractError: what was asked for is at fault
  bool environment = false;      ///< an EnvironmentError: this machine cannot do it
  bool consequence = false;      ///< ended or failed after, and probably because, another rank had failed
};

/// How ranks run.
struct RunRanksOptions {
  double limit_s = 60;            ///< for all of it; 0: none, the communicator's limits remain
  double operation_limit_s = 30;  ///< for one operation between ranks
  int threads = 1;                ///< OpenMP threads a rank
  double grace_s = 1;             ///< for the others to end by themselves, after the first failure
};

/// Forks `ranks` processes from this one and runs `body` in each, with a communicator of all of them over Gloo on this
/// machine. They meet in a fresh directory that is removed again; no port is fixed.
///
/// A fork costs 0.02 s where starting a program that loads LibTorch costs 0.8 s, but it copies only the calling thread:
/// a parent that has run OpenMP regions or has other threads would leave its children waiting for threads that do not
/// exist. So this process must have one thread and have run no tensor operation.
///
/// When a rank fails the others are told (FailureNews): what they wait for, or begin, fails with the first rank's
/// message in its own. They have a second, then they are ended: one that computes hears nothing. When RunRanks returns
/// no process is left.
///
/// \returns what failed, the earliest first, and after those the errors of communication, which may be echoes; empty when
///          every body returned.
/// \throws ContractError for a number of ranks below 1, and when this process has more than one thread; EnvironmentError
///         when processes or the directory cannot be made.
std::vector<RankFailure> RunRanks(int ranks, const std::function<void(const std::shared_ptr<Communicator>&)>& body,
                                  const RunRanksOptions& options = {});

}  // namespace shardlab
