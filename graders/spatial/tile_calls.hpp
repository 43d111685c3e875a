#pragma once

#include <functional>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "shardlab/grade/referee.hpp"
#include "shardlab/layers/tiled_image.hpp"
#include "tiling_json.hpp"

/// \file
/// Several operations on tiles in one run, each held against LibTorch's on the whole image.

namespace shardlab::grade {

/// One operation.
struct TileCall {
  std::string what;        ///< "TiledConv2d (kernel 3, 1x2 tiles of 5 x 8)"
  nlohmann::json params;   ///< for the body: op, window, ...
  at::Tensor x;            ///< the whole image [B, C, H, W]
  Distribution held;       ///< the pixels that each rank is given
  Distribution outputs;    ///< those of the result that it has to return; empty: all ranks return the same
  at::Tensor weight = {};  ///< the same on every rank; may be undefined
  at::Tensor bias = {};    ///< as weight
  /// On the whole image.
  std::function<at::Tensor(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias)> oracle;
  /// What comes back to the whole result; undefined: no backward. Where all ranks return the same, one a rank.
  std::vector<at::Tensor> dy = {};
  bool exact = true;  ///< integers: the same bits are expected
  /// Mistakes that a rank's result, and the gradient of its pixels, may show.
  std::function<std::vector<Hypothesis>(int rank)> y_mistakes = nullptr, dx_mistakes = nullptr;
};

/// Some of them.
class TileCalls {
 public:
  explicit TileCalls(int ranks) : ranks_(ranks) { spec.body = "tiles"; }

  /// Adds a call.
  void Add(TileCall call);
  /// Runs all.
  Run Launch(CaseContext& t);
  /// Every result, and that x is as it was.
  void ExpectResults(CaseContext& t, const Run& run) const;
  /// The gradients of x, weight and bias.
  void ExpectGradients(CaseContext& t, const Run& run) const;

  /// What to launch, without the calls.
  RunSpec spec;

 private:
  int ranks_;
  std::vector<TileCall> calls_;
};

/// A copy of the pixels of a box.
at::Tensor PixelsOf(const at::Tensor& image, const Box& box);

/// A tiling in words: "1x2 tiles of 5 x 8".
std::string Describe(const Tiling& tiling);
/// Kernel, stride and what is not ordinary.
std::string Describe(const ImageWindow& window);

/// The outputs that belong to each tile, counted one by one.
Tiling OutputTiling(const ImageWindow& window, const Tiling& tiling, int64_t height, int64_t width);

/// How a convolution, or its image, is out of the ordinary.
struct ConvShape {
  int64_t batch = 2, in = 2, out = 3, height = 8, width = 8;
  int64_t kernel_rows = 3, kernel_columns = 3;
  int64_t stride_rows = 1, stride_columns = 1;
  int64_t padding_rows = 1, padding_columns = 1;
  int64_t dilation = 1, groups = 1;
  bool bias = true;
};

/// A convolution of an image of whole numbers, cut by `tiling`.
TileCall ConvCall(CaseContext& t, const ConvShape& shape, const Tiling& tiling, bool backward);

}  // namespace shardlab::grade
