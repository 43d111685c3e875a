#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "shardlab/cifar/augment.hpp"
#include "shardlab/cifar/dataset.hpp"
#include "shardlab/models/trainer.hpp"

/// \file
/// Batches as tensors, whole or as the slice of one rank.
///
///     step           0         1         2         3    |    4    ...       epoch 0 | epoch 1
///     order       [ s7 s2 | s0 s5 | s8 s1 | s3 ]        | [ s4 s8 | ...     3: the last batch may be smaller
///     shard 0 of 2   s7        s0        s8        s3
///     shard 1 of 2   s2        s5        s1        -                        no image is left: an empty shard
///
/// The order is a function of (seed, epoch) and the augmentation one of (seed, epoch, sample), so ranks agree on a
/// batch without a message, and the shards of a batch, joined, are the batch bit for bit.

namespace shardlab::cifar {

/// How batches are made.
struct LoaderOptions {
  int64_t batch = 64;                 ///< Images a batch, at least 1; the last one of an epoch may have fewer.
  uint64_t seed = 1;                  ///< Of the order and of the augmentation.
  bool shuffle = true;                ///< Otherwise images come in the order in which they are stored.
  bool augment = false;               ///< Random crop and flip, see DrawAugmentation.
  at::ScalarType dtype = at::kFloat;  ///< Of the images: kFloat or kDouble.
};

/// Gives the batches of a training run by their step. Not thread-safe: it remembers the order of one epoch.
class Loader {
 public:
  /// \param data kept, not copied.
  /// \throws ContractError for a null or empty set, a batch below 1, or another type than kFloat and kDouble.
  Loader(std::shared_ptr<const Dataset> data, const Normalization& normalization, const LoaderOptions& options = {});

  /// Batches in one pass over the set, the partial one included.
  int64_t batches_per_epoch() const;

  /// The indices in the set of the images of a step's batch, in order; those of one of its shards where asked
  /// (SplitRange's).
  /// \throws ContractError unless step >= 0 and 0 <= shard < shards.
  std::vector<int64_t> Samples(int64_t step, int64_t shard = 0, int64_t shards = 1);

  /// The batch of a step, or one of its shards, which is empty ([0, 3, 32, 32]) where there are more shards than
  /// images.
  /// \throws ContractError as Samples does.
  Batch Get(int64_t step, int64_t shard = 0, int64_t shards = 1);

 private:
  std::shared_ptr<const Dataset> data_;
  Normalization normalization_;
  LoaderOptions options_;
  int64_t ordered_epoch_ = -1;
  std::vector<int64_t> order_;
};

/// The whole set, not augmented, in the order in which it is stored: what an accuracy is measured on.
/// \throws ContractError for an empty set or another type than kFloat and kDouble.
Batch WholeSet(const Dataset& data, const Normalization& normalization, at::ScalarType dtype = at::kFloat);

}  // namespace shardlab::cifar
