#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "shardlab/launch/process.hpp"

namespace shardlab::launch {

/// A program about to be started. Everything that allocates is done before the fork: another thread may hold the
/// allocator's lock.
class ProgramStart {
 public:
  explicit ProgramStart(const ProgramSpec& spec);

  /// In the child of `parent`: becomes the program.
  [[noreturn]] void Become(pid_t parent) const;
  /// In a child: the program cannot be started, because of `error`.
  void Fail(int error) const;
  /// In the caller: returns when the program runs. \throws EnvironmentError that says why it does not
  void Await();
  /// Says so of errno. \throws EnvironmentError
  [[noreturn]] void Refuse() const;

 private:
  const ProgramSpec& spec_;
  std::vector<std::string> words_, settings_;
  std::vector<char*> argv_, envp_;
  Fd failure_read_, failure_write_;
};

}  // namespace shardlab::launch
