#pragma once

#include <cstdint>
#include <string_view>

#include <ATen/core/Tensor.h>

/// \file
/// Weights that depend on a seed and a name alone: not on a global generator, nor on what was made before them, nor on
/// who else makes them. A shard is the slice of the full seeded weight, so every rank, and the single process it is
/// compared with, starts from the same model without a message.

namespace torch::nn {
class Module;
}

namespace shardlab {

/// A contiguous tensor on the CPU whose elements are uniform on [-bound, bound).
///
/// Element i (row-major) is a pure function of (seed, name, i), see CounterRandom; the float32 tensor is the float64
/// one rounded. Tensors with different names are unrelated.
/// \param shape the full shape, before any slicing.
/// \param name the parameter's dotted name in the model, for example "conv1.weight".
/// \param dtype a floating-point type.
/// \throws ContractError for a negative size, a negative bound, or a type that is not floating-point.
at::Tensor SeededTensor(at::IntArrayRef shape, uint64_t seed, std::string_view name, double bound = 1.0,
                        at::ScalarType dtype = at::kDouble);

/// The weight and the bias of one layer.
struct SeededLayer {
  at::Tensor weight;  ///< [out, in] of a linear layer, [out, in / groups, height, width] of a convolution.
  at::Tensor bias;    ///< [out]
};

/// The full weights that `SeedParameters` gives the linear layer or convolution called `name`: both tensors uniform
/// within 1 / sqrt(fan-in), as LibTorch's own initialisation is, from "<name>.weight" and "<name>.bias".
/// \param weight_shape at least 2 sizes, [out, ...]; fan-in is the product of all but the first.
/// \throws ContractError for fewer than 2 sizes, or as SeededTensor does.
SeededLayer SeededLayerWeights(at::IntArrayRef weight_shape, uint64_t seed, std::string_view name,
                               at::ScalarType dtype = at::kDouble);

/// Draws every parameter of `module` anew, in place and in the type that it has.
///
/// A module whose weight has 2 dimensions or more (linear, convolution, embedding) gets SeededLayerWeights of its
/// dotted name; one whose weight has 1 (a norm) gets weight 1 and bias 0. Buffers stay as they are.
/// \throws ContractError for a parameter that is neither `weight` nor `bias`, naming it.
void SeedParameters(torch::nn::Module& module, uint64_t seed);

}  // namespace shardlab
