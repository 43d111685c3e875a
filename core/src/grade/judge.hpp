#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "shardlab/grade/case.hpp"
#include "shardlab/grade/learning_curve.hpp"
#include "shardlab/grade/plain_referee.hpp"

/// \file
/// What judging a case takes, with tensors or without: all cases that a referee has, what is known of the one under
/// way, and where it has its bodies run. No LibTorch here; tensor_case.cpp has what cases with tensors need besides.

namespace shardlab::grade {

/// A case as SHARDLAB_CASE or SHARDLAB_PLAIN_CASE registered it.
struct RegisteredCase {
  std::string part;  ///< without the module
  std::string name;
  Kind kind;
  std::vector<int> ranks;
  std::function<void(CaseState&)> run;
};

/// In the order of registration.
const std::vector<RegisteredCase>& RegisteredCases();
void RegisterCase(RegisteredCase entry);

/// The version of the LibTorch that the registered cases compute with, "1.13.1"; empty: none of them has a tensor.
const std::string& LibTorchOfCases();
void SetLibTorchOfCases(const std::string& version);

/// Where a referee has its cases run.
class Arena {
 public:
  virtual ~Arena() = default;
  /// \throws ContractError for a request that cannot be run.
  virtual CaseOutcome Run(const CaseRequest& request) = 0;
  virtual void Draw(const LearningCurve& curve) = 0;
};

/// Ends a case: what it says is already known.
struct CaseEnds {};

/// A figure beside its target.
struct MeasuredFigure {
  std::string what;
  double measured;
  double target;
  std::string unit;
  bool met;
};

/// What is known of the case under way.
struct CaseState {
  CaseState(const ListedCase& listed, uint64_t seed, Arena& arena);

  /// Has `request` run. \throws CaseEnds when the run was cancelled
  CaseOutcome Run(const CaseRequest& request);
  /// \throws CaseEnds, with the outcome as the conclusion, unless everything went well.
  void RequireSuccess(const CaseOutcome& outcome);
  /// The first conclusion is the case's.
  void Conclude(Status status, const std::string& message);
  /// A figure was measured. If it is not met, `failure` is the conclusion.
  void Measure(const MeasuredFigure& figure, std::string failure, const std::vector<FigureHypothesis>& hypotheses);

  const ListedCase& listed;
  const uint64_t seed;
  Arena& arena;
  std::mt19937_64 random;    ///< of PlainCase::Integer
  int checks = 0;            ///< how many there were
  bool concluded = false;    ///< `result` has a status and a message
  CaseResult result;         ///< so far
  CaseOutcome last_outcome;  ///< of the last run, without its events
  std::vector<MeasuredFigure> figures;
};

/// Runs the case on `ranks` ranks and says what became of it. Nothing that the case throws comes out.
CaseResult Judge(const RegisteredCase& entry, const ListedCase& listed, uint64_t run_seed, Arena& arena);

}  // namespace shardlab::grade
