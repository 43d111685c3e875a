#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "shardlab/layers/recipe.hpp"

/// \file
/// Training in ONE process with plain LibTorch: the reference that every parallel run is compared with. It knows no rank,
/// no schedule, no stage and no message, and nothing of it is a contract.
///
/// One step t, on a batch of B images in `slices` parts of n_i images (B = sum of n_i):
///
///     1  loss = sum_i (n_i / B) * mean_loss(model(part i))      a mean of the parts' means would be wrong
///     2  gradients accumulate over the parts, their norm is clipped if asked
///     3  the optimizer steps
///
/// With one part this is ordinary training. More parts matter only where the model looks across a batch: with BatchNorm
/// each part is normalised by its own statistics, as on ranks or micro-batches that do not share theirs.
///
/// Asynchronous schedules compute on weights that are older than the newest. Which ones is their definition, and with
/// `version` it is computed here as it is written: with w_k(t) parameter k after t updates,
///
///     W(t+1) = W(t) - optimizer(gradient at w_k(version(k, t)))

namespace shardlab {

class ImageClassifier;

/// Images and their labels.
struct Batch {
  at::Tensor images;  ///< [B, C, H, W], floating-point
  at::Tensor labels;  ///< [B], int64, each below the number of classes; or what TrainOptions::loss takes
};

/// What a mistaken run does otherwise. Graders recognise a wrong result by repeating the mistake.
struct TrainMistakes {
  bool equal_parts = false;      ///< each part counts alike, in place of n_i / B
  bool only_last_part = false;   ///< the gradient of a part overwrites those of the parts before
  bool keeps_gradients = false;  ///< nobody sets the gradients to zero after a step
  /// Each part of a batch computes on a version of its own, in place of TrainOptions::version, and as that never on an
  /// older one than the part before it did.
  std::function<int64_t(const std::string& parameter, int64_t t, int64_t part)> part_version = nullptr;
};

/// How to train.
struct TrainOptions {
  int64_t steps = 200;     ///< Updates; 0 trains nothing.
  int64_t first_step = 0;  ///< The number of the first one: what batches, dropout and the learning rate count from.
  Recipe recipe;           ///< How each is made.
  /// Makes another optimizer than the recipe's, for the parameters that require a gradient; empty: the recipe's.
  std::function<std::unique_ptr<torch::optim::Optimizer>(const std::vector<at::Tensor>&)> optimizer;
  /// The mean loss of some samples, from logits and labels; empty: cross-entropy.
  std::function<at::Tensor(const at::Tensor& logits, const at::Tensor& labels)> mean_loss;
  int64_t slices = 1;  ///< Parts a batch is run in, see above; at most B are used.
  /// Sizes of the parts that a batch of `size` images is run in, none 0; empty: `slices` parts as SplitRange cuts them.
  std::function<std::vector<int64_t>(int64_t size)> parts;
  /// Whether the running statistics of a sequence's BatchNorms (shardlab/layers/batch_norm.hpp) are those of whole
  /// batches, taken once a step; otherwise each part moves them.
  bool whole_batch_statistics = false;
  /// Of which parts of a batch (0, 1, ...) the statistics of whole batches are; empty: of all.
  std::set<int> counted_parts;
  /// On which version of a parameter, counted in updates of this run, update t (0, 1, ...) computes: at most t, and never
  /// an older one than update t-1 did. Empty: the newest, t.
  std::function<int64_t(const std::string& parameter, int64_t t)> version;
  /// What to do wrong.
  TrainMistakes mistakes;
  /// Called after every step with its number and loss, when the model has its newest weights; may be empty.
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

/// Trains `model` in place, in training mode, and leaves it there, with its newest weights.
///
/// A parameter on which no loss depends has the gradient 0. Cost: the memory of one model, and besides one copy of the
/// parameters for each version that is still to be used, where `version` is given; all that the BatchNorms see of a batch
/// where their statistics are those of whole batches.
///
/// Deterministic on one thread; on more, as far as LibTorch's own operations are.
/// \throws ContractError for options out of range, an empty batch, images and labels that differ in number, parts that
/// do not sum to the batch, or a version that is newer than t or dropped already.
TrainResult Train(ImageClassifier& model, const BatchSource& batches, const TrainOptions& options);

/// The fraction (0 to 1) of images whose largest logit is at their label, in evaluation mode; the mode that `model` was
/// in is restored.
/// \param chunk how many images are run at a time: bounds the memory, does not change the result.
/// \throws ContractError without images, or when images and labels differ in number.
double Accuracy(ImageClassifier& model, const Batch& test, int64_t chunk = 250);

}  // namespace shardlab
