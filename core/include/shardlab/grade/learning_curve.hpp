#pragma once

#include <string>
#include <vector>

namespace shardlab::grade {

/// A learning curve over its reference; the three series have the same length, one value a step.
struct LearningCurve {
  std::string part;               ///< as in ListedCase
  std::string id;                 ///< of the case
  std::string name;               ///< "loss", ...
  std::vector<double> run;        ///< what the ranks got
  std::vector<double> reference;  ///< what one process gets
  std::vector<double> tolerance;  ///< by how much they may differ
};

}  // namespace shardlab::grade
