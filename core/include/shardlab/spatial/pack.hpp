#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

#include "shardlab/base/contract.hpp"
#include "shardlab/plan/box.hpp"

namespace shardlab {

/// Contract: copies some pixels of an image behind one another, so that they can travel in one message.
///
/// The copying is divided among the OpenMP threads that the process may use (omp_get_max_threads()). Each element is
/// written by one thread, so the result has the same bits however many there are.
///
/// \param x [B, C, h, w], float32 or float64 on the CPU, any strides.
/// \param boxes of two dimensions (rows, columns), in the indices of x; they may overlap and be empty.
/// \returns a new contiguous tensor of one dimension: for each box, in their order, its elements in row-major order of
///          [B, C, rows, columns].
SHARDLAB_CONTRACT at::Tensor PackPixels(const at::Tensor& x, const std::vector<Box>& boxes);

/// Contract: ADDS what PackPixels has packed to the pixels where it came from. Where boxes overlap, all of them count, in
/// their order, so that the result has the same bits however many threads there are.
/// \param packed one dimension, with as many elements as the boxes have together.
/// \param into [B, C, h, w], of the dtype of `packed`, any strides; changed in place.
SHARDLAB_CONTRACT void AddPackedPixels(const at::Tensor& packed, const std::vector<Box>& boxes, const at::Tensor& into);

}  // namespace shardlab
