#pragma once

#include <string>

#include <ATen/core/Tensor.h>

#include "shardlab/grade/referee.hpp"

namespace shardlab::grade {

/// Whose tensor is compared.
struct Subject {
  std::string name;  ///< "gradient of layer1.weight"
  int rank = 0;
  std::vector<int64_t> offset;  ///< of the rank's part in the full tensor; empty: the whole
};

/// Empty when `got` has the shape, the dtype and the values of `expected` (zeros of either sign are equal, and so are
/// NaNs); otherwise what is wrong, for a person.
std::string EqualDifference(const at::Tensor& got, const at::Tensor& expected, const Subject& subject);

/// Empty when `got` has the shape and dtype of `expected` and the norm of the difference is at most `tolerance`;
/// otherwise what is wrong, for a person. NaN is never within a tolerance.
std::string CloseDifference(const at::Tensor& got, const at::Tensor& expected, double tolerance,
                            const Subject& subject);

}  // namespace shardlab::grade
