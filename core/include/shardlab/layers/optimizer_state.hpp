#pragma once

#include <sstream>
#include <string>
#include <type_traits>
#include <utility>

#include <ATen/ATen.h>
#include <torch/optim/optimizer.h>

namespace shardlab {

/// By what an optimizer finds the state of a parameter: its address, as a text in LibTorch 1 and as a pointer in 2.
using OptimizerStateKey = std::decay_t<decltype(std::declval<torch::optim::Optimizer&>().state())>::key_type;

/// \returns the key of `parameter` in `optimizer.state()`; the parameter need not have a state yet.
template <typename Key = OptimizerStateKey>
Key StateKeyOf(const at::Tensor& parameter) {
  if constexpr (std::is_same_v<Key, std::string>) {
    std::ostringstream text;  // as LibTorch 1 writes it, whose own function LibTorch 2 no longer has
    text << parameter.unsafeGetTensorImpl();
    return text.str();
  } else {
    return parameter.unsafeGetTensorImpl();
  }
}

}  // namespace shardlab
