#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace shardlab {

/// Where in a training run a dropout happens.
struct DropoutKey {
  uint64_t seed = 0;   ///< of the run
  uint64_t step = 0;   ///< of the optimizer
  uint64_t layer = 0;  ///< a number for each dropout of the model
};

/// Which part of a tensor that no rank may hold whole a rank's tensor is.
struct DropoutSlice {
  std::vector<int64_t> full_shape;  ///< of the whole tensor, all samples of the batch; empty: the tensor is the whole
  std::vector<int64_t> offset;      ///< index in the whole of the part's first element; empty: 0 everywhere
  int64_t sample_dim = 0;           ///< which dimension counts samples
};

/// Sets each element of `x` to 0 with probability `p` and multiplies the others by 1/(1-p). Which ones is a function of
/// (seed, step, layer, the element's sample, its place within the sample) and of nothing else: a shard, a tile or a
/// micro-batch gets its slice of what one process gets, also when it is computed again. Differentiable; in evaluation
/// it is not called.
///
/// \throws ContractError unless 0 <= p < 1 and the slice lies within the whole.
at::Tensor Dropout(const at::Tensor& x, double p, const DropoutKey& key, const DropoutSlice& slice = {});

/// The factors, 0 or 1/(1-p), by which Dropout multiplies a tensor of shape `shape`.
at::Tensor DropoutMask(const std::vector<int64_t>& shape, double p, const DropoutKey& key,
                       const DropoutSlice& slice = {}, at::ScalarType dtype = at::kFloat);

}  // namespace shardlab
