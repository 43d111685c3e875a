#pragma once

#include <memory>

#include <ATen/core/Tensor.h>

#include "shardlab/base/contract.hpp"
#include "shardlab/comm/communicator.hpp"
#include "shardlab/layers/tiled_image.hpp"

/// \file
/// Contracts: what all pixels of an image say together, though no rank has them all.

namespace shardlab {

/// The mean and the biased variance of each channel: what BatchNorm (over all images) and instance norm (for each image)
/// normalise by.
///
///     mean_C = sum of x / N        var_C = sum of (x - mean_C)^2 / N        N pixels of all ranks, times B
///
/// \param x only the pixels that a rank owns count (`x.tiling`), each once, also where ranks have a halo besides. B and C
///          are the same on every rank.
/// \param over_images whether the images count together.
/// \returns [2, C], or [2, B, C] for each image by itself: means, then variances; the same bits on every rank.
///          In float32 with mean 1000 and deviation 1 the variance is right to 1e-4: no difference of large sums.
/// \throws ContractError when the image has no pixel.
/// Backward: the gradient of each pixel that this rank owns, from the gradients of ALL ranks' results.
/// Cost: one collective forward, to which each rank gives 2 C numbers (2 B C for each image by itself); one all-reduce of
/// as many backward, none when x needs no gradient.
SHARDLAB_CONTRACT at::Tensor TiledMoments(const TiledImage& x, bool over_images, std::shared_ptr<Communicator> comm);

/// The sum over the pixels of the image: what global average pooling divides by their number.
/// \param x as for TiledMoments.
/// \returns [B, C]; the same bits on every rank.
/// Backward: the gradient of the sum is the sum of all ranks' gradients, since each rank's result was made of this
/// rank's pixels too.
/// Cost: one all-reduce of B * C numbers forward; one backward, none when x needs no gradient.
SHARDLAB_CONTRACT at::Tensor TiledSum(const TiledImage& x, std::shared_ptr<Communicator> comm);

}  // namespace shardlab
