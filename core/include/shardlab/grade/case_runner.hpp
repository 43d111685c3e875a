#pragma once

#include <sys/types.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "shardlab/grade/case.hpp"
#include "shardlab/launch/sandbox.hpp"

/// \file
/// Runs cases: the heart of the supervisor.
///
///     supervisor (this process)          host                       ranks
///       |  case, descriptors a rank  -->  |
///       |                                 |  fork, fork, fork  -->   |  run the body
///       |  <----------------- announcements, every 20 ms ----------- |
///       |  <-- "rank 2 ended"             |  <--------------------   |
///       |  verdict: "end"  ------------>  |  SIGKILL  ------------>  |
///       |  <-- "done"                     |
///       reads outputs and what was printed, kills whatever is left
///
/// The host forks the ranks because forking a process that has LibTorch loaded takes 20 ms, and starting one 0.8 s.
///
/// In a replay nothing about costs rests on what the ranks say:
///
///     host 0 -- rank 0 ==relay==+
///     host 1 -- rank 1 ==relay==+== supervisor, which counts what passes
///     host 2 -- rank 2 ==relay==+
///
/// Every rank has a host of its own, in a sandbox of its own where there is one: it is given its own inputs and no
/// others, and whatever it learns of the others has passed through the supervisor. Without a sandbox the ranks share a
/// machine, on which they can meet elsewhere; what they then announce must still be what they sent.

namespace shardlab::grade {

class HostProcess;

/// Keeps a host program and has it run one case at a time.
///
/// What a rank starts cannot escape: it is found below the host (launch::ProcessTree) and killed after every case. Several
/// runners may be at work in one process, each in a thread of its own.
class CaseRunner {
 public:
  /// Begins to start the host, in `sandbox` if there is one, and returns at once. \throws EnvironmentError when there is
  /// no such program, or the sandbox cannot read it
  explicit CaseRunner(std::string host_program, double startup_limit_s = 60,
                      std::shared_ptr<const launch::Sandbox> sandbox = nullptr);
  ~CaseRunner();
  CaseRunner(const CaseRunner&) = delete;
  CaseRunner& operator=(const CaseRunner&) = delete;

  /// Runs one case, from start to end within its limit (a replay: twice that) and two seconds.
  ///
  /// Of several things that went wrong the outcome's status and message name the root: ranks that called operations
  /// which do not match, then NotImplemented, then the earliest exception or crash, then a deadlock, then messages that
  /// nobody received, then the time limit. A host that dies makes the case kCrashed and is started again for the next
  /// one; after two failures to start in a row it is not tried again.
  ///
  /// In a replay messages, bytes and collectives of the outcome are counted by the relay; rounds and events are as
  /// announced. A rank that announced anything else than it sent makes the outcome kFailed.
  ///
  /// Set `cancel` and the case ends as kSkipped. \throws ContractError for a request that cannot be run: no rank or
  /// more than 128, inputs for another number of ranks
  CaseOutcome Run(const CaseRequest& request, const std::atomic<bool>* cancel = nullptr);

  /// The host's process id, or -1: for tests.
  pid_t host_pid() const;

 private:
  std::string StartHost();
  std::string StartReplayHosts(size_t ranks);

  std::string host_program_;
  double startup_limit_s_;
  std::shared_ptr<const launch::Sandbox> sandbox_;
  std::unique_ptr<HostProcess> host_;
  std::vector<std::unique_ptr<HostProcess>> replay_hosts_;
  int failed_starts_ = 0;
  std::string last_failure_;
};

}  // namespace shardlab::grade
