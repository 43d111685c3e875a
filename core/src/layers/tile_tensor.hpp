#pragma once

#include <memory>
#include <string>
#include <vector>

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>
#include <c10/core/TensorImpl.h>

#include "shardlab/layers/tiled_image.hpp"

/// \file
/// How LibTorch comes to ask a tile tensor. Its implementation has a dispatch key of its own, in front of autograd's: every
/// operation with such a tensor among its arguments arrives at one function, with the operation's name and its arguments
/// on a stack, and leaves it with the results there.

namespace shardlab {

/// Made for wrappers of tensors; no part of LibTorch uses it.
constexpr auto kTileKey = c10::DispatchKey::TESTING_ONLY_GenericWrapper;

/// The tensor that says it has the whole image's sizes.
class TileTensorImpl final : public c10::TensorImpl {
 public:
  TileTensorImpl(TiledImage image, std::shared_ptr<TileOps> ops);

  const TiledImage image;
  const std::shared_ptr<TileOps> ops;
};

/// The one of a tile tensor.
const TileTensorImpl& TileOf(const at::Tensor& tensor);

/// An operation that is being asked for.
class TileCall {
 public:
  TileCall(const c10::OperatorHandle& op, torch::jit::Stack* stack);

  /// "conv2d": without namespace and overload.
  std::string name() const;
  /// "mean.dim".
  std::string full_name() const;
  /// The arguments, in the order of the operation's schema.
  const c10::IValue& arg(size_t i) const;
  /// \name An argument as what it has to be
  ///@{
  at::Tensor TensorAt(size_t i) const;
  std::vector<int64_t> IntsAt(size_t i) const;
  /// One or two numbers, as two.
  std::vector<int64_t> PairAt(size_t i) const;
  int64_t IntAt(size_t i, int64_t or_none) const;
  ///@}

  /// The first tile tensor among the arguments, in lists too.
  const TileTensorImpl& first() const { return *first_; }

  /// Leaves the result.
  void Return(at::Tensor result);
  /// An image like that of first(), with other values.
  at::Tensor Tiles(at::Tensor values, const Tiling& tiling) const;
  at::Tensor Tiles(at::Tensor values, const Tiling& tiling, const Tiling& held) const;
  /// \throws ContractError: `op` "has no form on tiles", and `why`.
  [[noreturn]] void Refuse(const std::string& why) const;

  /// Runs the operation itself on this rank's pixels, and leaves its results as images like that of first().
  void RunOnPixels();

 private:
  void FindCommonPixels();
  at::Tensor PixelsOf(const at::Tensor& argument) const;

  const c10::OperatorHandle& op_;
  torch::jit::Stack* stack_;
  size_t base_;  // where the arguments begin on the stack
  const TileTensorImpl* first_ = nullptr;
  Tiling common_;  // what of the image all arguments have
};

/// Which outputs of a window each rank computes: its own, `outputs`, and where halos are fused all that the pixels which it
/// holds are enough for.
Tiling ComputedOutputs(const TileOps& ops, const TiledImage& x, const ImageWindow& window, const Tiling& outputs);

/// Whether every rank has all that its outputs read. `ops.outputs_within` is there.
bool HoldsInputs(const TileOps& ops, const TiledImage& x, const ImageWindow& window, const Tiling& outputs);

/// What an operation does on tiles.
using TileRule = void (*)(TileCall&);

/// The rule for an operation of this name; null: it has no form on tiles.
TileRule FindTileRule(const std::string& name);

}  // namespace shardlab
