#pragma once

#include <string>

#include "shardlab/report/terminal.hpp"

/// \file
/// Where the program `lab` works and where it writes.

namespace shardlab::cli {

/// The exit status of `lab`.
enum ExitStatus {
  kAllPassed = 0,
  kNotPassed = 1,    ///< something that was asked for did not pass
  kUsage = 2,        ///< wrong usage
  kEnvironment = 3,  ///< this machine cannot do it
};

/// A tree and the folder in which it is built.
struct SourceTree {
  std::string root;   ///< the tree: exercises/, graders/, ...
  std::string build;  ///< the build folder
  int jobs = 1;       ///< parallel jobs of a build

  /// "exercises/communication" below `root`.
  std::string InRoot(const std::string& path) const { return root + "/" + path; }
  /// "bin/host_communication_exercises" below `build`.
  std::string InBuild(const std::string& path) const { return build + "/" + path; }
  /// A file or folder of the student's own state, LAB_ROOT/.lab/...; makes LAB_ROOT/.lab.
  /// \throws EnvironmentError if that cannot be made.
  std::string InState(const std::string& path) const;
  /// Whether the tree holds solutions; a student's does not.
  bool HasSolutions() const;
};

/// Where a command works, and where it writes.
struct Context : SourceTree {
  Terminal out;  ///< standard output
  Terminal err;  ///< standard error
};

/// Reads LAB_ROOT, LAB_BUILD and LAB_JOBS, which the script `lab` sets; what is not set is found from the program's own
/// path, <build>/bin/lab.
/// \throws UsageError if what they name is no such folder or number.
Context MakeContext();

/// The git revision of the tree, or "" if there is none.
std::string Revision(const SourceTree& tree);

}  // namespace shardlab::cli
