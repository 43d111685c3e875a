#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include "shardlab/layers/layer.hpp"

/// \file
/// Batch normalisation of micro-batches.
///
/// Each micro-batch is normalised by its own mean and variance; there is no other way, since when the first one passes
/// the last one may not have entered the pipeline. What is left to choose is what the running statistics, which
/// evaluation uses, are made of: of every micro-batch, or of the whole mini-batch. That is a BatchStatistics.

namespace shardlab {

class MicroBatchNorm;

/// Who keeps running statistics. See MicroBatch::statistics.
class BatchStatistics {
 public:
  virtual ~BatchStatistics() = default;
  /// `norm` has normalised micro-batch `at`, `x` [n, C, ...], in training. Not called for a forward that is recomputed.
  /// Micro-batches of a mini-batch come in ascending order.
  virtual void Track(MicroBatchNorm& norm, const at::Tensor& x, const MicroBatch& at) = 0;
};

/// The parameters and buffers of torch::nn::BatchNorm, for any number of dimensions: x [n, C, ...].
class MicroBatchNorm : public torch::nn::Module {
 public:
  /// Weight 1, bias 0, running mean 0, running variance 1. There may be 0 channels, where ranks share fewer than they are.
  explicit MicroBatchNorm(int64_t channels, double eps = 1e-5, double momentum = 0.1,
                          at::ScalarType dtype = at::kFloat);

  /// In training normalises by the statistics of `x`, and hands `x` to `at.statistics`; without one it updates the
  /// running statistics at once, as torch::nn::BatchNorm would. In evaluation normalises by the running statistics.
  at::Tensor forward(const at::Tensor& x, const MicroBatch& at);

  at::Tensor weight;               ///< [C]
  at::Tensor bias;                 ///< [C]
  at::Tensor running_mean;         ///< [C]
  at::Tensor running_var;          ///< [C], unbiased
  at::Tensor num_batches_tracked;  ///< int64 scalar
  double eps;                      ///< added to the variance
  double momentum;                 ///< weight of the newest statistics
};

}  // namespace shardlab
