#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "shardlab/base/contract.hpp"

namespace shardlab {

/// How many values there are, where they lie, and how far they spread: all that a norm needs to know of them.
struct Moments {
  int64_t count = 0;  ///< how many values
  at::Tensor mean;    ///< the mean of the values
  at::Tensor m2;      ///< the sum of (value - mean)^2, not divided by anything
};

/// The moments of several sets of values together, from the moments of each: Chan's rule.
///
///     count = sum n_t        mean = (1/count) sum n_t mean_t        m2 = sum m2_t + sum n_t (mean_t - mean)^2
///
/// Every tensor stands for as many independent sets as it has elements (the rows of a batch, the channels of an image).
/// No square of a large number is taken, so float32 is enough even where mean^2 is a million times the variance.
///
/// A pure function: no communication.
///
/// \param parts one or more; `mean` and `m2` of all of them have one shape and one floating dtype. A part with count 0
///              has no say, whatever its mean and m2 are (also when they are not a number).
/// \returns new tensors of the parts' shape. When all counts are 0, mean and m2 are 0.
///
/// Source: T. Chan, G. Golub, R. LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances",
/// 1979.
SHARDLAB_CONTRACT Moments MergeMoments(const std::vector<Moments>& parts);

}  // namespace shardlab
