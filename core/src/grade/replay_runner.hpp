#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "host_process.hpp"
#include "shardlab/grade/case.hpp"
#include "shardlab/launch/sandbox.hpp"

namespace shardlab::grade {

/// Runs a case so that nothing about its costs rests on what the ranks say:
///
///     host 0 -- rank 0 ==relay==+
///     host 1 -- rank 1 ==relay==+== supervisor, which counts what passes
///     host 2 -- rank 2 ==relay==+
///
/// Every rank has a host of its own, in a sandbox of its own where there is one: it is given its own inputs and no
/// others, and whatever it learns of the others has passed through the supervisor. Without a sandbox the ranks share a
/// machine, on which they can meet elsewhere; what they then announce must still be what they sent.
class ReplayRunner {
 public:
  /// `keep` is told of every child that must not be taken for a stray.
  ReplayRunner(std::string host_program, double startup_limit_s, std::shared_ptr<const launch::Sandbox> sandbox,
               std::function<void(pid_t)> keep)
      : host_program_(std::move(host_program)),
        startup_limit_s_(startup_limit_s),
        sandbox_(std::move(sandbox)),
        keep_(std::move(keep)) {}

  /// As CaseRunner::Run, for a case that has gone well before. Messages, bytes and collectives of the outcome are
  /// counted by the relay; rounds and events are as announced. A rank that announced anything else than it sent makes
  /// the outcome kFailed. It takes at most twice the case's limit and two seconds, besides the start of hosts.
  CaseOutcome Run(const CaseRequest& request, const std::atomic<bool>* cancel);

 private:
  /// Has `ranks` hosts; empty, or why not.
  std::string StartHosts(size_t ranks);

  std::string host_program_;
  double startup_limit_s_;
  std::shared_ptr<const launch::Sandbox> sandbox_;
  std::function<void(pid_t)> keep_;
  std::vector<std::unique_ptr<HostProcess>> hosts_;
};

}  // namespace shardlab::grade
