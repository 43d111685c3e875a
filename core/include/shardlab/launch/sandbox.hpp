#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include "shardlab/launch/process.hpp"

/// \file
/// A sandbox for programs that nobody trusts.
///
///     supervisor -- bwrap ............................................
///                     : init -- setpriv -- prlimit -- the program    :   every arrow is an exec or a fork; the program
///                     : /usr, its libraries: read-only               :   has its own processes, network, names, /tmp,
///                     : /tmp, /dev/shm: its own, of limited size     :   and the descriptors that it was given
///                     :..............................................:
///
/// The program may make those system calls that SystemCallFilter leaves. Two sandboxes, also of one Sandbox, have nothing
/// in common that either could write to: as root each program is a user of its own; otherwise each has a user namespace.
///
/// Where the machine allows no namespaces (a container, often), and the caller is root, a user stands in who owns
/// nothing and is nobody else: less is held back then, and `shortcomings` says what.

namespace shardlab::launch {

/// How much of the machine a sandboxed program may take. A limit of a process holds for each of them.
struct SandboxLimits {
  int64_t temporary_bytes = int64_t{256} << 20;  ///< in /tmp, and again in /dev/shm
  int64_t file_bytes = int64_t{256} << 20;       ///< in one file
  int64_t memory_bytes = int64_t{8} << 30;       ///< that a process may write to, what it shares not counted
  int processes = 512;                           ///< and threads, all together
  int open_files = 1024;                         ///< of a process
};

/// A way to keep programs apart, found out once and used for many. Shared by those who start programs with it; what it
/// made for them (a user's folder) goes with the last one.
class Sandbox {
 public:
  virtual ~Sandbox() = default;
  Sandbox(const Sandbox&) = delete;
  Sandbox& operator=(const Sandbox&) = delete;

  /// The best that this machine offers, tried out by running a program in it (some 20 ms).
  /// \throws EnvironmentError when it offers nothing; the message says what would help
  static std::shared_ptr<const Sandbox> Find(const SandboxLimits& limits = {});
  /// Why bubblewrap cannot be used here, in its own words; empty when it can.
  static std::string WhyNoNamespaces();

  /// What to start in place of `program`, to have it run inside. Its environment is `program.environment` and a few
  /// words more, whatever the caller's. Keep its `held` until all that ran inside has ended: then its user is given to
  /// others, and what that one has left in temporary folders is removed.
  /// \throws EnvironmentError when the sandbox cannot read the program or a library that it needs
  virtual ProgramSpec Inside(const ProgramSpec& program) const = 0;
  /// What is not held back, as a sentence; empty when all is.
  virtual std::string shortcomings() const = 0;
  /// Whether processes go on inside that descend from `pid`, which was started from Inside, and are not the program.
  virtual bool HasStrays(pid_t pid) const = 0;
  /// From how the process that was started ended: how the program inside ended.
  virtual int ProgramsWaitStatus(int wait_status) const = 0;

 protected:
  Sandbox() = default;
};

}  // namespace shardlab::launch
