#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "shardlab/layers/layer.hpp"
#include "shardlab/plan/tiling.hpp"

/// \file
/// Images whose pixels lie on several ranks, in the hands of layers that know nothing of it.
///
/// A layer is written for whole images: x.size(2) rows, at::conv2d, at::max_pool2d, x.mean({2, 3}), a residual sum. Given
/// a *tile tensor* it runs as it is. That is a tensor which says that it has the sizes of the whole image, and holds this
/// rank's pixels; LibTorch asks it, before anything else, what each operation shall do:
///
///     layer's text            whole image                tiles
///     at::conv2d(x, w, ...)   LibTorch                   TileOps::Conv2d, which exchanges a halo first
///     at::relu(x), x + y      LibTorch                   LibTorch, on this rank's pixels
///     x.mean({2, 3})          LibTorch                   this rank's sum, added up over the ranks
///     at::sort(x, 2)          LibTorch                   refused, with its name: it has no form on tiles
///
/// Anything that is not known to be right on tiles is refused, so a layer cannot be silently wrong. A tile tensor lives
/// within one layer's Forward: what travels between layers, and what autograd sees, are this rank's pixels.

namespace shardlab {

/// An image (of a mini-batch) as one rank sees it.
struct TiledImage {
  at::Tensor values;  ///< [B, C, h, w]: the pixels `held` of this rank
  Tiling tiling;      ///< which pixels are whose: every one is one rank's
  Tiling held;        ///< which pixels the ranks have: their own, and perhaps a halo besides
};

/// The pixels of a box of two dimensions, in the indices of `x`: a view [B, C, rows, columns].
at::Tensor ViewOfPixels(const at::Tensor& x, const Box& box);

/// What rank `rank` has of an image, without the pixels that it has not in `to`: a view. So with `image.tiling` those that it
/// owns.
/// \throws ContractError when `to` gives it pixels that it has not.
at::Tensor Cropped(const TiledImage& image, const Tiling& to, int rank);

/// What operations do that look at more than one pixel. All ranks call them in the same order. `outputs` says which
/// pixels of the result each rank is to have.
///
/// Each is the one of LibTorch on the whole image, in value and gradient. The gradient of a rank's part of a weight is
/// what the outputs that the rank owns contribute: the sum over the ranks is that of one process.
class TileOps {
 public:
  virtual ~TileOps() = default;

  /// Who computes which outputs of a window that moves over tiles.
  virtual Tiling Outputs(const ImageWindow& window, const Tiling& tiling) = 0;
  /// at::conv2d; `bias` may be undefined.
  virtual at::Tensor Conv2d(const TiledImage& x, const at::Tensor& weight, const at::Tensor& bias,
                            const ImageWindow& window, int64_t groups, const Tiling& outputs) = 0;
  /// at::max_pool2d.
  virtual at::Tensor MaxPool2d(const TiledImage& x, const ImageWindow& window, const Tiling& outputs) = 0;
  /// at::avg_pool2d. \param divisor what sums are divided by; 0: the number of pixels in the window.
  virtual at::Tensor AveragePool2d(const TiledImage& x, const ImageWindow& window, bool count_include_pad,
                                   int64_t divisor, const Tiling& outputs) = 0;
  /// The mean and the biased variance of each channel over the pixels of all ranks, and over the images where
  /// `over_images`: [2, C], else [2, B, C].
  virtual at::Tensor Moments(const TiledImage& x, bool over_images) = 0;
  /// The sum over the pixels of all ranks: [B, C], the same on every rank.
  virtual at::Tensor SumOfPixels(const TiledImage& x) = 0;
  /// The same image, cut otherwise.
  virtual at::Tensor Retile(const TiledImage& x, const Tiling& to) = 0;

  /// This rank.
  virtual int rank() const = 0;

  /// Where halos are fused: the outputs that some inputs of an image of `inputs` pixels are enough for (OutputsWithin). Null:
  /// a rank computes its own outputs and no others.
  std::function<Range(const SlidingWindow& window, Range held, int64_t inputs)> outputs_within = nullptr;
};

/// Which tensors go into a layer and come out of it; for each how it is cut. No rows: it is whole on every rank.
struct TiledBoundary {
  std::vector<Tiling> in;        ///< whose pixels are whose
  std::vector<Tiling> out;       ///< the same behind the layer
  std::vector<Tiling> in_held;   ///< which pixels a rank has: its own; within a group of layers, a halo besides
  std::vector<Tiling> out_held;  ///< the same behind the layer
  std::vector<Tiling> fetched;   ///< which pixels an exchange in front of the layer brings; no rows: there is none
};

/// How the images lie in front of, behind and between the layers of a sequence.
using TilePlan = std::vector<TiledBoundary>;

/// Runs the layers on a mini-batch of no image, to see how the tiles lie and whether every layer has a form on tiles.
/// Nothing is computed and no message is sent.
/// \param model layers [0, n) of a model; each is made once, on the CPU.
/// \param channels of the images that go in; \param height,width their sizes.
/// \param group how many layers share one exchange (a *fused halo*): in front of them each rank gets all that they read, and
///              computes some outputs that are its neighbours' as well. Needs `ops.outputs_within`. 0: each operation
///              exchanges what it reads. A group ends early where it cannot be helped: in front of a layer that pops a skip
///              or pads the image, and where it would need pixels of a whole other side.
/// \throws ContractError that names the layer and the operation that has no form on tiles, and what would do; or the
/// layer behind which a rank has no pixel; or a group below 0, or without `outputs_within`.
TilePlan PlanTiles(const LayerSequence& model, int64_t channels, int64_t height, int64_t width, const Grid& grid,
                   TileOps& ops, int group = 0);

/// The sequence whose layers run on tiles: a layer gets this rank's pixels of each image and returns those of its
/// results, as `plan` says. Names, weights, stashes and pops are those of `model`.
/// \param model as PlanTiles has seen it.
LayerSequence SpatialSequence(const LayerSequence& model, TilePlan plan, std::shared_ptr<TileOps> ops);

/// \name For layers and tests that handle tile tensors themselves
///@{
/// The tile tensor of an image.
at::Tensor MakeTileTensor(TiledImage image, std::shared_ptr<TileOps> ops);
/// Whether it is one.
bool IsTileTensor(const at::Tensor& tensor);
/// What it holds. \throws ContractError for any other tensor.
const TiledImage& TilesOf(const at::Tensor& tensor);
///@}

}  // namespace shardlab
