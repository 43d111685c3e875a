#pragma once

#include <sys/types.h>

#include <vector>

#include "shardlab/launch/process.hpp"

namespace shardlab::launch {

/// A program and all that descends from it:
///
///     this process -- keeper -- program -- ...
///                        +----- what it started and left behind
///
/// The keeper is a process that does nothing but adopt and reap, so that orphans of several trees are not mixed up and
/// nothing that a program starts can get away. It dies, and the program with it, when the thread that made the tree ends.
class ProcessTree {
 public:
  /// Starts the program. \throws EnvironmentError that says why it cannot be started
  explicit ProcessTree(const ProgramSpec& spec);
  /// Kills them all.
  ~ProcessTree();
  ProcessTree(const ProcessTree&) = delete;
  ProcessTree& operator=(const ProcessTree&) = delete;

  /// The program's process id, also after its end.
  pid_t program() const { return program_; }
  /// What descends from the program, or did: everything in the tree but the program.
  std::vector<pid_t> Others() const;
  /// Kills what has outlived the process that started it, and what descends from that. Gives up on what has not ended
  /// after 20 s.
  void KillOrphans();
  /// Waits up to `limit_s` for the program's end, and says how it ended as waitpid does. False when it has not.
  bool AwaitEnd(double limit_s, int* wait_status);

 private:
  pid_t keeper_ = -1;
  pid_t program_ = -1;
  Fd news_;  // from the keeper: the program's id, then how it ended
  bool ended_ = false;
  int wait_status_ = 0;
};

}  // namespace shardlab::launch
