#include "shardlab/pipeline/micro_batches.hpp"

// TASK pipeline.stage: MicroBatches, SamplesOf, ShareOf
//
// A mini-batch of B samples in m pieces, piece i with n_i samples:
//
//     B = 10, m = 4      [ 0 1 2 | 3 4 5 | 6 7 | 8 9 ]      SplitRange(B, m, i)
//
//  * No piece is empty: with B < m there are B pieces.
//  * SamplesOf gives views (narrow), not copies.
//  * The loss of the mini-batch is a mean over its samples. By what must the mean loss of a piece be multiplied, so
//    that the pieces add up to it? (Not by 1/m: try B = 3, m = 2.) B is `at.update_samples`, unless that is 0: in data
//    parallelism an update has more samples than its mini-batch here, `at.batch`.
//
// The contract: shardlab/pipeline/micro_batches.hpp.

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"

namespace shardlab {

std::vector<MicroBatch> MicroBatches(int64_t samples, int microbatches, int64_t step) {
  (void)samples, (void)microbatches, (void)step;
  throw NotImplemented("pipeline.stage: MicroBatches (exercises/pipeline/micro_batches.cpp)");
}

Tensors SamplesOf(const Tensors& batch, const MicroBatch& at) {
  (void)batch, (void)at;
  throw NotImplemented("pipeline.stage: SamplesOf (exercises/pipeline/micro_batches.cpp)");
}

LossShare ShareOf(LossFunction mean_loss) {
  (void)mean_loss;
  throw NotImplemented("pipeline.stage: ShareOf (exercises/pipeline/micro_batches.cpp)");
}

}  // namespace shardlab
