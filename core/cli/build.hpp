#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cancel.hpp"
#include "context.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/report/progress.hpp"

/// \file
/// Building what a subcommand needs.

namespace shardlab::cli {

/// How far a build is, with steps of a minute beside steps of a moment.
struct BuildStep {
  int done = 0;      ///< steps
  int total = 0;     ///< steps
  double share = 0;  ///< of the work that is done: 0 to 1
  double seconds_left = 0;
  std::string subject;  ///< what was made last, "solutions/m/ring.cpp"
};

/// What a build tells, in the thread that called it, and how it is ended. Any may be empty.
struct BuildHooks {
  /// Something that a person should know, as a sentence: another `lab` builds in the same folder and is waited for.
  std::function<void(const std::string&)> on_note;
  /// A step is done, or some time has passed.
  std::function<void(const BuildStep&)> on_step;
  const std::atomic<bool>* cancel = nullptr;
  bool confined = false;  ///< exercises are compiled and linked by programs that open no other files: see cmake/limited
};

/// A target cannot be built.
class BuildError : public EnvironmentError {
 public:
  BuildError(const std::string& what, std::string said) : EnvironmentError(what), said_(std::move(said)) {}
  /// What the compiler said of it, as lines.
  const std::string& said() const { return said_; }

 private:
  std::string said_;
};

/// Builds targets and prints nothing. With nothing to build it takes about 0.1 s. Waits for another build in the same
/// folder, and for what a killed one has left running; what that may have left half-written is made again (see
/// cmake/build_marker). False when it was cancelled.
/// \throws BuildError, EnvironmentError
bool BuildQuietly(const SourceTree& tree, const std::vector<std::string>& targets, const BuildHooks& hooks);

/// The same with a progress bar.
/// \throws BuildError, EnvironmentError, Interrupted
void Build(const Context& context, const std::vector<std::string>& targets);

/// Whether nothing has to be built, found out without waiting for a build that goes on. Changes of CMake's files are not
/// seen: the script `lab` looks for those.
bool UpToDate(const SourceTree& tree, const std::vector<std::string>& targets);

/// A build's progress bar, on standard error.
class BuildBar {
 public:
  explicit BuildBar(const Context& context) : context_(context) {}
  void Note(const std::string& sentence) const;
  void Show(const BuildStep& step);

 private:
  const Context& context_;
  std::optional<Progress> progress_;
};

/// The names of the programs of this build that begin with `prefix`, sorted, without building anything.
std::vector<std::string> ProgramsInBuild(const SourceTree& tree, const std::string& prefix);

}  // namespace shardlab::cli
