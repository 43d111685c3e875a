#pragma once

#include <functional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

/// \file
/// The bridge from a pair of pure functions to autograd.
///
/// A differentiable operation between ranks is two functions that know nothing of autograd: what goes forward, and what
/// comes back. All-reduce and copy, scatter and gather, a halo and its reverse are such pairs. Apply puts one into the
/// graph and names what would go silently wrong there.

namespace shardlab {

/// A function and its conjugate.
struct ConjugateOp {
  /// What error messages call it.
  std::string name;
  /// From the input to the output, a new tensor: not the input itself and no view of it, and the input stays as it is.
  std::function<at::Tensor(const at::Tensor&)> forward;
  /// From the output's gradient to the input's, of the input's shape and dtype. Its argument is a contiguous tensor of
  /// its own, which it may change and return (autograd's own may be shared with other branches or have stride 0).
  std::function<at::Tensor(const at::Tensor&)> backward;
  /// Whether backward runs also where the input needs no gradient, so that a rank takes part in the communication of
  /// ranks whose inputs do need one. The output then always needs one. Otherwise backward is skipped with the gradient.
  bool always = false;
};

/// The same with several inputs and outputs.
struct MultiConjugateOp {
  /// What error messages call it.
  std::string name;
  /// As ConjugateOp's; no output is an input or a view of one.
  std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>&)> forward;
  /// From all outputs' gradients (zero where an output was not used) to those of all inputs; undefined where an input
  /// has none.
  std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>&)> backward;
  /// As ConjugateOp's.
  bool always = false;
};

/// `op.forward(x)`, with `op.backward` as its gradient. On the CPU the backward runs in the thread that called
/// backward. \throws ContractError when `op` changes its input, returns it or a view of it, or returns a gradient of
/// another shape or dtype, and when a gradient of the gradient is asked for.
at::Tensor Apply(const ConjugateOp& op, const at::Tensor& x);

/// The same with several inputs and outputs.
std::vector<at::Tensor> Apply(const MultiConjugateOp& op, const std::vector<at::Tensor>& inputs);

}  // namespace shardlab
