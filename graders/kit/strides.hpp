#pragma once

#include <ATen/core/Tensor.h>

/// \file
/// The same values in memory that lies otherwise.

namespace shardlab::grade {

/// Every second element of a tensor twice as large.
at::Tensor Strided(const at::Tensor& x);

/// Every second element of rows that are one element longer than they look, so that a tensor with rows has no flat view.
at::Tensor Apart(const at::Tensor& x);

/// Dense, with the first two dimensions in the other order in memory. What copies "as it is" keeps that order.
at::Tensor Transposed(const at::Tensor& x);

}  // namespace shardlab::grade
