#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

/// \file
/// Sums and rows of tensors, one a rank.

namespace shardlab::grade {

/// The sum of numbers.
int64_t Total(const std::vector<int64_t>& numbers);

/// The sum in the tensors' own dtype, added in the order of the ranks.
at::Tensor SumOf(const std::vector<at::Tensor>& tensors);

/// The rows of `whole` that belong to rank `rank` when rank r has rows[r] of them, contiguous.
at::Tensor RowsOf(const at::Tensor& whole, const std::vector<int64_t>& rows, int rank);
/// The same of all ranks.
std::vector<at::Tensor> AllRowsOf(const at::Tensor& whole, const std::vector<int64_t>& rows);

}  // namespace shardlab::grade
