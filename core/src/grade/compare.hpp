#pragma once

#include <string>

#include <ATen/core/Tensor.h>
#include <nlohmann/json.hpp>

#include "shardlab/grade/referee.hpp"

namespace shardlab::grade {

/// Whose tensor is compared.
struct Subject {
  Label label;  ///< `what` is not empty
  int rank = 0;
  int ranks = 1;
};

/// What is wrong with a tensor; `message` is empty when nothing is.
struct Difference {
  std::string message;    ///< the fact, what it means, where, and small tensors whole: for a person
  std::string diagnosis;  ///< "this is what you get when ...", also in `message`; empty: no hypothesis fits
  nlohmann::json tensor;  ///< for CaseResult::evidence; null where only the shape or the dtype is wrong
};

/// Whether `got` has the shape, the dtype and the values of `expected` (zeros of either sign are equal, and so are
/// NaNs).
Difference EqualDifference(const at::Tensor& got, const at::Tensor& expected, const Subject& subject);

/// Whether `got` has the shape and dtype of `expected` and the norm of the difference is at most `tolerance`. NaN is
/// never within a tolerance.
Difference CloseDifference(const at::Tensor& got, const at::Tensor& expected, double tolerance, const Subject& subject);

/// Whether every step's loss is within its tolerance. \pre the three have one size.
Difference CurveDifference(const std::string& name, const std::vector<double>& run,
                           const std::vector<double>& reference, const std::vector<double>& tolerance,
                           const std::vector<Hypothesis>& hypotheses);

}  // namespace shardlab::grade
