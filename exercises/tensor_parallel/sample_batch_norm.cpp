#include "shardlab/tensor_parallel/batch_norm.hpp"

// TASK tensor_parallel.norms: MakeSampleBatchNorm
//
// BatchNorm over B samples of which every rank holds some, with all C channels.
//
// A class that derives from ShardedLayer and registers the parameters `weight` gamma_C and `bias` beta_C and the
// buffers `running_mean`, `running_var` [C] and `num_batches_tracked`, whole on every rank. forward takes x [b, C] or
// [b, C, H, W], and returns what one process gets for these samples as part of the whole batch.
//
//   - b differs between ranks, may be 0, and is known to its rank alone: the count travels with the statistics. A mean
//     of the ranks' means is wrong.
//   - The running statistics are those of the full batch, the variance unbiased: N / (N - 1) with N the values of a
//     channel on all ranks.
//   - The gradient of x is that of one process. The gradients of gamma and beta are those of this rank's samples.
//   - Fewer than two values a channel in all: ContractError, on every rank.
//
// Cost in training: ONE collective forward, to which every rank gives 2*C + 1 numbers; one AllReduce of 2*C elements
// backward, none when x needs no gradient. In evaluation: none.

#include <ATen/ATen.h>

#include "shardlab/autograd/conjugate_op.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/tensor_parallel/moments.hpp"

namespace shardlab {

std::shared_ptr<ShardedLayer> MakeSampleBatchNorm(const BatchNormWeights& weights, std::shared_ptr<Communicator> comm) {
  (void)weights, (void)comm;
  throw NotImplemented("tensor_parallel.norms: MakeSampleBatchNorm (exercises/tensor_parallel/sample_batch_norm.cpp)");
}

}  // namespace shardlab
