#include "shardlab/pipeline/micro_batches.hpp"

// TASK pipeline.stage: MicroBatches, SamplesOf, ShareOf
//
// The contract is the header above. Before you write:
//
//  * How many pieces have 3 samples in 5 micro-batches?
//  * By what must the mean loss of a piece be multiplied, so that the pieces add up to the mean over all samples? Try
//    it with 3 samples in 2 pieces.
//  * An update may have more samples than its mini-batch here. Which number of MicroBatch says so?

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
