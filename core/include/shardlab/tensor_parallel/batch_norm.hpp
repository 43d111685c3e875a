#pragma once

#include <memory>

#include "shardlab/base/contract.hpp"
#include "shardlab/comm/communicator.hpp"
#include "shardlab/tensor_parallel/sharded_layer.hpp"

/// \file
/// BatchNorm normalises each channel over the samples (and over the positions of an image):
///
///     training     mean, var  of the channel over all N = B*H*W values, var = (1/N) sum (x - mean)^2
///                  y = (x - mean) / sqrt(var + eps) * gamma + beta
///                  running_mean = (1 - momentum) * running_mean + momentum * mean
///                  running_var  = (1 - momentum) * running_var  + momentum * var * N / (N - 1)
///                  num_batches_tracked += 1
///     evaluation   running_mean and running_var stand for mean and var; nothing is updated
///
/// Which of its two dimensions is sharded decides everything: over sharded features a rank has all it needs; over
/// sharded samples it has a part of every channel.
///
/// Source: Ioffe, Szegedy, "Batch normalization", arXiv 1502.03167.

namespace shardlab {

/// The full parameters and settings of a BatchNorm layer; running_mean starts at 0 and running_var at 1.
struct BatchNormWeights {
  at::Tensor gamma_C;     ///< the scale
  at::Tensor beta_C;      ///< the shift
  double eps = 1e-5;      ///< added to the variance
  double momentum = 0.1;  ///< the weight of the newest batch in the running statistics
};

/// BatchNorm over C channels of which every rank holds some, for all samples.
///
/// Parameters: `weight` gamma_c and `bias` beta_c; buffers `running_mean`, `running_var` [c] and `num_batches_tracked`
/// (int64, no dimension); all but the last are the slices SplitRange(C, T, rank).
/// forward: x [B, c] or [B, c, H, W] to y of the same shape, both sharded along the channels.
///
/// Cost: none, neither forward nor backward.
///
/// \throws ContractError unless gamma_C and beta_C have one dimension and the same size.
SHARDLAB_CONTRACT std::shared_ptr<ShardedLayer> MakeFeatureBatchNorm(const BatchNormWeights& weights,
                                                                     std::shared_ptr<Communicator> comm);

/// BatchNorm over B samples of which every rank holds some, with all C channels (PyTorch calls it SyncBatchNorm).
///
/// How many samples a rank has is its own affair: any number, also 0, known to nobody else before forward. The result
/// is that of one process on the whole batch, so a rank's statistics count as much as it has values.
///
/// Parameters: `weight` gamma_C and `bias` beta_C, buffers as above, all whole on every rank. The gradients of gamma
/// and beta are those of this rank's samples, as those of every other replicated weight are where samples are split:
/// whoever averages gradients adds the ranks' up. The gradient of x is that of one process. forward: x [b, C] or [b, C,
/// H, W] to y of the same shape, both sharded along the samples, in any sizes.
///
/// Cost in training: ONE collective forward, to which every rank gives 2*C + 1 numbers (two for a channel, and how many
/// values it has); one AllReduce of 2*C elements backward, none when x needs no gradient. In evaluation: none.
///
/// \throws ContractError unless gamma_C and beta_C have one dimension and the same size; forward in training when all
///         ranks together have fewer than two values a channel.
SHARDLAB_CONTRACT std::shared_ptr<ShardedLayer> MakeSampleBatchNorm(const BatchNormWeights& weights,
                                                                    std::shared_ptr<Communicator> comm);

}  // namespace shardlab
