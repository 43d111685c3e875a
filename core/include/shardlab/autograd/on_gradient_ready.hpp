#pragma once

#include <functional>
#include <memory>

#include <ATen/core/Tensor.h>

namespace shardlab {

/// Keeps a callback of OnGradientReady registered; without it the callback is no longer called.
class GradientHook {
 public:
  struct Impl;
  /// A hook on nothing.
  GradientHook() = default;
  /// What OnGradientReady returns.
  explicit GradientHook(std::unique_ptr<Impl> impl);
  /// Moving hands the registration on.
  GradientHook(GradientHook&&) noexcept;
  GradientHook& operator=(GradientHook&&) noexcept;
  ~GradientHook();

 private:
  std::unique_ptr<Impl> impl_;
};

/// Calls `callback` with the parameter's gradient each time that a backward has added to it, when that is complete: a
/// parameter used several times in the graph calls once a backward. Runs in backward's thread, while the gradients of
/// other parameters may still be missing; what it throws comes out of backward.
///
/// \param parameter a leaf tensor that requires a gradient.
/// \throws ContractError for any other tensor.
[[nodiscard]] GradientHook OnGradientReady(const at::Tensor& parameter,
                                           std::function<void(const at::Tensor& gradient)> callback);

}  // namespace shardlab
