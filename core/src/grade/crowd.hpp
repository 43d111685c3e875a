#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "host_process.hpp"
#include "shardlab/grade/case.hpp"

namespace shardlab::grade {

/// How many processes and threads a case has. The kernel's own limit counts all of a user's processes and does not hold
/// for root, so it can be no limit on a case.
class Crowd {
 public:
  /// What descends from the hosts now is not the case's.
  Crowd(const Limits& limits, int ranks, std::vector<const HostProcess*> hosts);

  /// Empty, or what is too much. Costs one system call, unless something seems to be going on.
  std::string TooManyText();

  /// Stops it, so that it does not grow while it is being ended.
  void Freeze() const;

 private:
  std::vector<pid_t> Members() const;

  Limits limits_;
  int ranks_;
  std::vector<const HostProcess*> hosts_;
  int tasks_before_;  // on the whole machine
  int processes_before_;
  int rounds_uncounted_ = 0;
};

}  // namespace shardlab::grade
