#include "build.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <deque>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include <fmt/format.h>

#include "build_time.hpp"
#include "run_program.hpp"
#include "shardlab/base/visible.hpp"
#include "shardlab/launch/process.hpp"

namespace shardlab::cli {
namespace {

/// The lock that the script `lab` also holds while it builds. Whatever a build starts holds it too, so that compilers
/// that have outlived a killed build are waited for.
class BuildLock {
 public:
  explicit BuildLock(const SourceTree& tree)
      : build_(tree.build), file_(open(tree.InBuild(".lab-lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) {
    if (!file_) {
      throw EnvironmentError(
          fmt::format("the build folder {} cannot be written: name another one with LAB_BUILD", build_));
    }
  }

  /// False when that was cancelled.
  bool Take(const BuildHooks& hooks) {
    const launch::Deadline deadline(kMostSeconds);
    for (bool told = false; flock(file_.get(), LOCK_EX | LOCK_NB) != 0; told = true) {
      if (!told && hooks.on_note) hooks.on_note("waiting for another lab that builds in " + build_);
      if (hooks.cancel != nullptr && hooks.cancel->load()) return false;
      if (deadline.Passed()) {
        throw EnvironmentError(fmt::format("another lab has been building in {} for half an hour", build_));
      }
      usleep(100000);
    }
    return true;
  }

  int descriptor() const { return file_.get(); }

 private:
  static constexpr double kMostSeconds = 1800;
  std::string build_;
  launch::Fd file_;
};

/// "[3/17] Building CXX object a.o": how far ninja is, and the step.
struct StatusLine {
  int done = 0, total = 0;
  std::string step;
};

std::optional<StatusLine> ReadStatus(const std::string& line) {
  StatusLine status;
  int end = 0;
  const bool is_one = std::sscanf(line.c_str(), "[%d/%d] %n", &status.done, &status.total, &end) == 2 && end > 0;
  if (!is_one || status.total == 0) return std::nullopt;
  status.step = line.substr(static_cast<size_t>(end));
  if (status.step.rfind("Re-checking globbed", 0) == 0) return std::nullopt;  // it does so before every build
  return status;
}

const std::map<std::string, std::string> kNinjaEnvironment = {{"NINJA_STATUS", "[%f/%t] "}};

/// The steps that a build of the targets has to do; nothing when that cannot be found out. Ninja is asked beside a build
/// that goes on, and by another name of its file: by that one it would only say that it wants to ask CMake first.
std::optional<std::vector<std::string>> StepsOf(const SourceTree& tree, const std::vector<std::string>& targets) {
  const char* const plan = ".lab-plan.ninja";
  [[maybe_unused]] const int made = symlink("build.ninja", tree.InBuild(plan).c_str());
  std::vector<std::string> command = {"ninja", "-C", tree.build, "-f", plan, "-n"};
  command.insert(command.end(), targets.begin(), targets.end());
  std::vector<std::string> steps;
  RunOptions options;
  options.environment = kNinjaEnvironment;
  options.on_line = [&](const std::string& line) {
    if (auto status = ReadStatus(line)) steps.push_back(std::move(status->step));
  };
  if (RunProgram(command, options) != 0) return std::nullopt;
  return steps;
}

/// Reads what ninja says: "[3/17] Building CXX object ..." is progress, everything else is kept.
class NinjaOutput {
 public:
  NinjaOutput(const SourceTree& tree, const std::vector<std::string>& targets, const BuildHooks& hooks)
      : tree_(tree), targets_(targets), hooks_(hooks) {}

  void Line(const std::string& line) {
    if (const auto status = ReadStatus(line)) return Progressed(*status);
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

  /// Some time has passed.
  void Tick() {
    if (!clock_ && !last_step_ && Elapsed() > kFirstWordSeconds) Foresee();
    if (!last_step_) return;
    if (!hooks_.on_step) return;
    BuildStep step = *last_step_;
    step.seconds_left = std::max(step.seconds_left - (Elapsed() - told_at_), 0.0);
    hooks_.on_step(step);
  }

  /// Whether anything was made.
  bool built() const { return last_step_.has_value(); }
  /// A target that this build does not have, or "".
  const std::string& unknown_target() const { return unknown_target_; }

  /// What was said about the failure.
  std::string Said() const {
    std::string said;
    size_t shown = 0;
    for (const std::string& line : said_.empty() ? last_ : said_) {
      // The command line of the compiler says nothing to a person.
      if (line.find(" -c ") != std::string::npos && line.find(" -o ") != std::string::npos) continue;
      if (++shown > kShown) break;
      said += line + "\n";
    }
    return said;
  }

 private:
  void Progressed(const StatusLine& status) {
    if (!clock_ && status.total - status.done >= kWorthForeseeing) Foresee();
    if (clock_) clock_->Done(status.step);
    Tell({status.done, status.total, 0, 0, Subject(status.step)});
  }

  void Foresee() {
    const auto steps = StepsOf(tree_, targets_).value_or(std::vector<std::string>());
    std::ifstream log(tree_.InBuild(".ninja_log"));
    clock_.emplace(ReadStepSeconds(log), steps, tree_.jobs);
    if (!last_step_ && !steps.empty()) Tell({0, static_cast<int>(steps.size()), 0, 0, Subject(steps[0])});
  }

  void Tell(BuildStep step) {
    step.share = clock_ ? clock_->Share() : static_cast<double>(step.done) / step.total;
    step.seconds_left = clock_ ? clock_->SecondsLeft(Elapsed()) : 0;
    last_step_ = step;
    told_at_ = Elapsed();
    if (hooks_.on_step) hooks_.on_step(step);
  }

  double Elapsed() const { return static_cast<double>(launch::MonotonicNs() - start_ns_) / 1e9; }

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
  static constexpr int kWorthForeseeing = 4;      // steps
  static constexpr double kFirstWordSeconds = 1;  // ninja says nothing before its first step is done

  const SourceTree& tree_;
  const std::vector<std::string>& targets_;
  const BuildHooks& hooks_;
  const int64_t start_ns_ = launch::MonotonicNs();
  std::optional<BuildClock> clock_;
  std::optional<BuildStep> last_step_;
  double told_at_ = 0;
  std::deque<std::string> said_;  // from the first failure on
  std::deque<std::string> last_;  // before it
  std::string unknown_target_;
  bool failed_ = false;
};

/// Has cmake/build_marker know that a build begins or ends.
void Mark(const std::string& verb, const SourceTree& tree, const BuildHooks& hooks) {
  RunOptions options;
  options.on_line = [&](const std::string& line) {
    const std::string prefix = "lab: ";
    if (hooks.on_note) hooks.on_note(line.compare(0, prefix.size(), prefix) == 0 ? line.substr(prefix.size()) : line);
  };
  if (RunProgram({"sh", tree.InRoot("cmake/build_marker"), verb, tree.build}, options) != 0) {
    throw EnvironmentError(
        fmt::format("{} cannot be written to, or {} is missing", tree.build, tree.InRoot("cmake/build_marker")));
  }
}

}  // namespace

bool BuildQuietly(const SourceTree& tree, const std::vector<std::string>& targets, const BuildHooks& hooks) {
  if (access(tree.InBuild("CMakeCache.txt").c_str(), R_OK) != 0) {
    throw EnvironmentError(fmt::format("{} is not configured: run ./lab in {}, which does it", tree.build, tree.root));
  }
  BuildLock lock(tree);
  if (!lock.Take(hooks)) return false;
  std::vector<std::string> command = {"cmake", "--build", tree.build, "-j", std::to_string(tree.jobs), "--target"};
  command.insert(command.end(), targets.begin(), targets.end());
  Mark("begin", tree, hooks);
  NinjaOutput output(tree, targets, hooks);
  RunOptions options;
  options.environment = kNinjaEnvironment;
  if (hooks.confined) options.environment["SHARDLAB_CONFINE"] = std::filesystem::read_symlink("/proc/self/exe");
  options.on_line = [&](const std::string& line) { output.Line(Visible(line)); };
  options.on_tick = [&] { output.Tick(); };
  options.cancel = hooks.cancel;
  options.held = lock.descriptor();
  const int status = RunProgram(command, options);
  if (status < 128) {  // it has come to its end by itself, well or not
    if (output.built()) {
      Mark("end", tree, hooks);
    } else {
      unlink(tree.InBuild(".lab-building").c_str());
    }
  }
  if (hooks.cancel != nullptr && hooks.cancel->load()) return false;
  if (status == 0) return true;
  if (status == 127) throw EnvironmentError("cmake was not found: install it (Debian: apt-get install cmake)");
  if (!output.unknown_target().empty()) {
    throw EnvironmentError(fmt::format("this build has no {}", output.unknown_target()));
  }
  throw BuildError(fmt::format("{} could not be built", targets.size() == 1 ? targets[0] : "what is needed"),
                   output.Said());
}

bool UpToDate(const SourceTree& tree, const std::vector<std::string>& targets) {
  const auto steps = StepsOf(tree, targets);
  return steps && steps->empty();
}

void BuildBar::Note(const std::string& sentence) const { fmt::print(stderr, "lab: {}\n", sentence); }

void BuildBar::Show(const BuildStep& step) {
  const std::string left = TimeLeftText(step.seconds_left);
  if (!progress_) {
    progress_.emplace("building", step.total, stderr, context_.err);
    if (!context_.err.interactive && !left.empty()) fmt::print(stderr, "building: {} steps, {}\n", step.total, left);
  }
  progress_->SetTotal(step.total);
  progress_->SetShare(step.share);
  progress_->Update(step.done, left.empty() ? step.subject : left + ", " + step.subject);
}

void Build(const Context& context, const std::vector<std::string>& targets) {
  const CancelOnSignal cancel;
  BuildBar bar(context);
  BuildHooks hooks;
  hooks.on_note = [&](const std::string& sentence) { bar.Note(sentence); };
  hooks.on_step = [&](const BuildStep& step) { bar.Show(step); };
  hooks.cancel = cancel.flag();
  BuildQuietly(context, targets, hooks);
  cancel.Check();
}

std::vector<std::string> ProgramsInBuild(const SourceTree& tree, const std::string& prefix) {
  std::set<std::string> names;
  std::ifstream ninja(tree.InBuild("build.ninja"));
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
