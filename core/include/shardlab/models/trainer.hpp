#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "shardlab/layers/recipe.hpp"

/// \file
/// Training in ONE process with plain LibTorch: the reference that every parallel run is compared with.
///
/// One step, on a batch of B images in `slices` parts of n_i images (B = sum of n_i):
///
///     1  loss = sum_i (n_i / B) * cross_entropy(model(part i))      a mean of the parts' means would be wrong
///     2  gradients accumulate over the parts, their norm is clipped if asked
///     3  the optimizer steps
///
/// With one part this is ordinary training. More parts matter only where the model looks across a batch: with BatchNorm
/// each part is normalised by its own statistics, as on ranks or micro-batches that do not share theirs.

namespace shardlab {

class BatchStatistics;
class ImageClassifier;

/// Images and their labels.
struct Batch {
  at::Tensor images;  ///< [B, C, H, W], floating-point
  at::Tensor labels;  ///< [B], int64, each below the number of classes
};

/// How to train.
struct TrainOptions {
  int64_t steps = 200;  ///< Updates; 0 trains nothing.
  Recipe recipe;        ///< How each is made.
  int64_t slices = 1;   ///< Parts a batch is run in, see above; at most B are used.
  /// Sizes of the parts that a batch of `size` images is run in, none 0; empty: `slices` parts as SplitRange cuts them.
  std::function<std::vector<int64_t>(int64_t size)> parts;
  /// Who keeps the running statistics of a sequence's BatchNorms (shardlab/layers/batch_norm.hpp); null: each, at
  /// every part.
  BatchStatistics* statistics = nullptr;
  /// Called after every step with its number and loss, for a progress bar; may be empty.
  std::function<void(int64_t step, double loss)> on_step;
};

/// What training gave.
struct TrainResult {
  std::vector<double> losses;                                  ///< The loss of every step, before its update.
  std::vector<std::pair<std::string, at::Tensor>> parameters;  ///< Final values by dotted name, copies.
  std::vector<std::pair<std::string, at::Tensor>> buffers;     ///< BatchNorm's running statistics and the like, copies.
};

/// Gives the batch of a step (0, 1, ...).
using BatchSource = std::function<Batch(int64_t step)>;

/// Trains `model` in place, in training mode, and leaves it there.
///
/// Deterministic on one thread; on more, as far as LibTorch's own operations are.
/// \throws ContractError for options out of range, an empty batch, images and labels that differ in number, or parts that
/// do not sum to the batch.
TrainResult Train(ImageClassifier& model, const BatchSource& batches, const TrainOptions& options);

/// The fraction (0 to 1) of images whose largest logit is at their label, in evaluation mode; the mode that `model` was
/// in is restored.
/// \param chunk how many images are run at a time: bounds the memory, does not change the result.
/// \throws ContractError without images, or when images and labels differ in number.
double Accuracy(ImageClassifier& model, const Batch& test, int64_t chunk = 250);

}  // namespace shardlab
