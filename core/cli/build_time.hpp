#pragma once

#include <istream>
#include <map>
#include <string>
#include <vector>

/// \file
/// How long a build still takes. Its steps are not alike: a precompiled header takes a hundred times as long as a link.

namespace shardlab::cli {

/// Reads a .ninja_log: what was made, and how many seconds that took when it was made last.
std::map<std::string, double> ReadStepSeconds(std::istream& log);

/// The steps of one build, weighed by the seconds that they took last, or that steps of their kind usually take.
class BuildClock {
 public:
  /// \param steps as ninja describes those that are left: "Building CXX object m/CMakeFiles/a.dir/b.cpp.o"
  /// \param jobs how many run at a time
  BuildClock(std::map<std::string, double> step_seconds, const std::vector<std::string>& steps, int jobs);

  /// A step is done, of those that are left or not.
  void Done(const std::string& step);
  /// How much of all is done, 0 to 1.
  double Share() const;
  /// What is left of a build that began `elapsed` seconds ago.
  double SecondsLeft(double elapsed) const;

 private:
  double Weight(const std::string& step) const;

  std::map<std::string, double> step_seconds_;
  std::multimap<std::string, double> left_;  // their weights
  double left_weight_ = 0;
  double done_weight_ = 0;
  int done_steps_ = 0;
  int jobs_;
};

/// "about 3 min left"; empty where so little is left that nobody needs to know.
std::string TimeLeftText(double seconds);

}  // namespace shardlab::cli
