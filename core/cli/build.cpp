#include "build.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cstdio>
#include <deque>
#include <fstream>
#include <optional>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "process.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/report/progress.hpp"

namespace shardlab::cli {
namespace {

/// The lock that the script `lab` also holds while it builds.
class BuildLock {
 public:
  explicit BuildLock(const Context& context) {
    const std::string path = context.InBuild(".lab-lock");
    descriptor_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (descriptor_ < 0) {
      throw EnvironmentError(
          fmt::format("the build folder {} cannot be written: name another one with LAB_BUILD", context.build));
    }
    if (flock(descriptor_, LOCK_EX | LOCK_NB) == 0) return;
    fmt::print(stderr, "lab: waiting for another lab that builds in {}\n", context.build);
    for (int waited = 0; flock(descriptor_, LOCK_EX | LOCK_NB) != 0; ++waited) {
      if (waited == kMostSeconds * 10) {
        throw EnvironmentError(fmt::format("another lab has been building in {} for half an hour", context.build));
      }
      usleep(100000);
    }
  }
  ~BuildLock() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  BuildLock(const BuildLock&) = delete;
  BuildLock& operator=(const BuildLock&) = delete;

 private:
  static constexpr int kMostSeconds = 1800;
  int descriptor_ = -1;
};

/// Reads what ninja says: "[3/17] Building CXX object ..." is progress, everything else is kept.
class NinjaOutput {
 public:
  explicit NinjaOutput(const Context& context) : context_(context) {}

  void Line(const std::string& line) {
    int done = 0, total = 0, end = 0;
    if (std::sscanf(line.c_str(), "[%d/%d] %n", &done, &total, &end) == 2 && end > 0) {
      if (total == 0) return;
      if (!progress_) progress_.emplace("building", total, stderr, context_.err);
      progress_->SetTotal(total);
      progress_->Update(done, Subject(line.substr(static_cast<size_t>(end))));
      return;
    }
    const std::string unknown = "ninja: error: unknown target '";
    if (line.compare(0, unknown.size(), unknown) == 0) {
      unknown_target_ = line.substr(unknown.size(), line.find('\'', unknown.size()) - unknown.size());
    }
    for (const char* start : {"FAILED: ", "ninja: error", "CMake Error"}) {
      if (line.rfind(start, 0) == 0) failed_ = true;
    }
    if (failed_) {
      said_.push_back(line);
    } else {
      last_.push_back(line);
      if (last_.size() > kKept) last_.pop_front();
    }
  }

  /// A target that this build does not have, or "".
  const std::string& unknown_target() const { return unknown_target_; }

  /// Ends the bar and prints what was said about the failure.
  void Explain() {
    progress_.reset();
    size_t shown = 0;
    for (const std::string& line : said_.empty() ? last_ : said_) {
      // The command line of the compiler says nothing to a person.
      if (line.find(" -c ") != std::string::npos && line.find(" -o ") != std::string::npos) continue;
      if (++shown > kShown) break;
      fmt::print(stderr, "{}\n", line);
    }
  }

 private:
  /// "solutions/m/ring.cpp" of "Building CXX object .../solutions/m/ring.cpp.o".
  static std::string Subject(const std::string& what) {
    std::string subject = what.substr(what.rfind(' ') + 1);
    if (subject.size() > 2 && subject.compare(subject.size() - 2, 2, ".o") == 0) subject.resize(subject.size() - 2);
    const size_t folder = subject.find(".dir/");
    if (folder != std::string::npos) subject = subject.substr(folder + 5);
    return subject;
  }

  static constexpr size_t kKept = 40;
  static constexpr size_t kShown = 60;

  const Context& context_;
  std::optional<Progress> progress_;
  std::deque<std::string> said_;  // from the first failure on
  std::deque<std::string> last_;  // before it
  std::string unknown_target_;
  bool failed_ = false;
};

}  // namespace

void Build(const Context& context, const std::vector<std::string>& targets) {
  if (access(context.InBuild("CMakeCache.txt").c_str(), R_OK) != 0) {
    throw EnvironmentError(
        fmt::format("{} is not configured: run ./lab in {}, which does it", context.build, context.root));
  }
  const BuildLock lock(context);
  std::vector<std::string> command = {"cmake",   "--build", context.build, "-j", std::to_string(context.jobs),
                                      "--target"};
  command.insert(command.end(), targets.begin(), targets.end());
  NinjaOutput output(context);
  ProcessOptions options;
  options.environment = {{"NINJA_STATUS", "[%f/%t] "}};
  options.on_line = [&](const std::string& line) { output.Line(line); };
  const int status = RunProcess(command, options);
  if (status == 0) return;
  if (SignalDuringProcess() != 0) throw Interrupted{SignalDuringProcess()};
  if (status == 127) throw EnvironmentError("cmake was not found: install it (Debian: apt-get install cmake)");
  if (!output.unknown_target().empty()) {
    throw EnvironmentError(fmt::format("this build has no {}", output.unknown_target()));
  }
  output.Explain();
  throw EnvironmentError(fmt::format("{} could not be built; what the compiler said is above",
                                     targets.size() == 1 ? targets[0] : "what is needed"));
}

std::vector<std::string> ProgramsInBuild(const Context& context, const std::string& prefix) {
  std::set<std::string> names;
  std::ifstream ninja(context.InBuild("build.ninja"));
  const std::string rule = ": phony bin/";
  for (std::string line; std::getline(ninja, line);) {
    if (line.compare(0, 6, "build ") != 0) continue;
    const size_t at = line.find(rule);
    if (at == std::string::npos) continue;
    const std::string name = line.substr(at + rule.size());
    if (name.compare(0, prefix.size(), prefix) == 0 && name.find_first_of("./ ") == std::string::npos)
      names.insert(name);
  }
  return {names.begin(), names.end()};
}

}  // namespace shardlab::cli
