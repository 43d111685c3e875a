#pragma once

#include <memory>

#include <ATen/core/Tensor.h>

#include "shardlab/base/contract.hpp"
#include "shardlab/comm/communicator.hpp"
#include "shardlab/layers/tiled_image.hpp"

namespace shardlab {

/// Contract: a convolution of an image whose pixels lie on several ranks. Every rank has the whole weight, gets the halo
/// that it lacks, and computes the outputs that are asked for.
///
/// Its values and gradients are those of at::conv2d on the whole image: the gradient of x is the slice of the one that one
/// process gets; the gradients of weight and bias are what this rank's outputs contribute, and their SUM over the ranks is
/// that of one process.
///
/// \param x the pixels of the ranks. All of `x.held` that lie within the outputs' inputs are used; what is missing is
///          exchanged by ExchangePixels, if any rank lacks any.
/// \param weight [O, C / groups, kh, kw]. \param bias [O], or undefined.
/// \param window kernel (that of the weight), stride, padding and dilation along each side; no ceil_mode.
/// \param outputs which outputs each rank computes; ranges may be empty, and overlap.
/// \returns [B, O, h', w'], the outputs of this rank.
/// Cost: at most one exchange forward and one backward (ExchangePixels); none where every rank has what it needs. The
/// images of the first layer need no gradient, and have no exchange backward.
SHARDLAB_CONTRACT at::Tensor TiledConv2d(const TiledImage& x, const at::Tensor& weight, const at::Tensor& bias,
                                         const ImageWindow& window, int64_t groups, const Tiling& outputs,
                                         std::shared_ptr<Communicator> comm);

}  // namespace shardlab
