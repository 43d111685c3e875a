#pragma once

#include <memory>
#include <string>
#include <vector>

#include "shardlab/grade/referee.hpp"
#include "shardlab/grade/session.hpp"

namespace shardlab::grade {

/// A case as SHARDLAB_CASE registered it.
struct RegisteredCase {
  std::string part;  ///< without the module
  std::string name;
  Kind kind;
  std::vector<int> ranks;
  CaseFunction function;
};

/// In the order of registration.
const std::vector<RegisteredCase>& RegisteredCases();

/// Where a referee has its cases run.
class Arena {
 public:
  virtual ~Arena() = default;
  /// \throws ContractError for a request that cannot be run.
  virtual CaseOutcome Run(const CaseRequest& request) = 0;
  virtual void Draw(const LearningCurve& curve) = 0;
};

/// Runs the case on `ranks` ranks and says what became of it. Nothing that the case throws comes out.
CaseResult Judge(const RegisteredCase& entry, const PlannedCase& planned, uint64_t run_seed, Arena& arena);

}  // namespace shardlab::grade
