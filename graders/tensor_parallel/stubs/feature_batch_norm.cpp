#include "shardlab/tensor_parallel/batch_norm.hpp"

// TASK tensor_parallel.norms: MakeFeatureBatchNorm
//
// BatchNorm over C channels of which every rank holds some, for all samples.
//
// A class that derives from ShardedLayer and registers the parameters `weight` gamma_c and `bias` beta_c and the
// buffers (register_buffer) `running_mean`, `running_var` [c] and `num_batches_tracked` (int64, no dimension); all but
// the last are slices SplitRange(C, T, rank) of the full ones, which start at 0 and 1. forward takes x [B, c] or [B, c,
// H, W].
//
// In training (is_training()) it normalises by the batch and updates the buffers, in evaluation it normalises by them,
// as shardlab/tensor_parallel/batch_norm.hpp writes it out. A rank may have no channel at all.
//
// Cost: no communication. Say why before you write it.

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"

namespace shardlab {

std::shared_ptr<ShardedLayer> MakeFeatureBatchNorm(const BatchNormWeights& weights,
                                                   std::shared_ptr<Communicator> comm) {
  (void)weights, (void)comm;
  throw NotImplemented(
      "tensor_parallel.norms: MakeFeatureBatchNorm (exercises/tensor_parallel/feature_batch_norm.cpp)");
}

}  // namespace shardlab
