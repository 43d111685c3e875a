#include "build_time.hpp"

#include <algorithm>
#include <cmath>
#include <sstream>
#include <utility>

#include <fmt/format.h>

namespace shardlab::cli {
namespace {

/// Seconds of a step that was never done here, on an ordinary machine. Only their ratios matter once a build runs.
constexpr double kPrecompiledHeader = 25, kUnity = 30, kObject = 6, kLink = 0.5, kAnything = 0.1;
/// For so many seconds of the clock the weights are believed: then what has been done says how fast this machine is.
constexpr double kBelievedSeconds = 10;

bool Contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

/// "m/CMakeFiles/a.dir/b.cpp.o" of "Building CXX object m/CMakeFiles/a.dir/b.cpp.o".
std::string WhatIsMade(const std::string& step) { return step.substr(step.rfind(' ') + 1); }

}  // namespace

std::map<std::string, double> ReadStepSeconds(std::istream& log) {
  std::map<std::string, double> seconds;
  for (std::string line; std::getline(log, line);) {
    std::istringstream columns(line);
    double start_ms = 0, end_ms = 0;
    std::string time, made;
    if (columns >> start_ms >> end_ms >> time && std::getline(columns >> std::ws, made, '\t')) {
      seconds[made] = std::max(end_ms - start_ms, 0.0) / 1e3;
    }
  }
  return seconds;
}

BuildClock::BuildClock(std::map<std::string, double> step_seconds, const std::vector<std::string>& steps, int jobs)
    : step_seconds_(std::move(step_seconds)), jobs_(std::max(jobs, 1)) {
  for (const std::string& step : steps) {
    const double weight = Weight(step);
    left_.emplace(step, weight);
    left_weight_ += weight;
  }
}

double BuildClock::Weight(const std::string& step) const {
  const auto known = step_seconds_.find(WhatIsMade(step));
  if (known != step_seconds_.end()) return std::max(known->second, 0.01);
  if (Contains(step, ".gch")) return kPrecompiledHeader;
  if (Contains(step, "unity_")) return kUnity;
  if (Contains(step, "Building ")) return kObject;
  return Contains(step, "Linking ") ? kLink : kAnything;
}

void BuildClock::Done(const std::string& step) {
  const auto found = left_.find(step);
  const double weight = found == left_.end() ? Weight(step) : found->second;
  done_weight_ += weight;
  ++done_steps_;
  if (found == left_.end()) return;
  left_weight_ = std::max(left_weight_ - weight, 0.0);
  left_.erase(found);
}

double BuildClock::Share() const {
  const double all = done_weight_ + left_weight_;
  return all > 0 ? done_weight_ / all : 0;
}

double BuildClock::SecondsLeft(double elapsed) const {
  // The other jobs are in the middle of steps like those that are done.
  const double under_way =
      std::min(done_steps_ > 0 ? (jobs_ - 1) * 0.5 * done_weight_ / done_steps_ : 0, left_weight_ / 2);
  return (left_weight_ - under_way) * (elapsed + kBelievedSeconds) /
         (done_weight_ + under_way + kBelievedSeconds * jobs_);
}

std::string TimeLeftText(double seconds) {
  if (seconds < 5) return "";
  if (seconds < 55) return fmt::format("about {} s left", 5 * std::lround(seconds / 5));
  return fmt::format("about {} min left", std::max(std::lround(seconds / 60), 1L));
}

}  // namespace shardlab::cli
