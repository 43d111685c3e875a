#pragma once

#include <ATen/core/Tensor.h>

#include "shardlab/grade/frame.hpp"

namespace shardlab::grade {

/// A copy of what the frame holds, on the CPU.
at::Tensor TensorFrom(const Frame& frame);
/// A copy of `tensor`, contiguous.
Frame FrameFrom(const at::Tensor& tensor);

}  // namespace shardlab::grade
