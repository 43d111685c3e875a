#include "shardlab/communication/data_parallel.hpp"

// TASK communication.autograd: DataParallelStep
//
// Forward and backward of this rank's samples, in micro-batches, and then the average over the ranks: every rank ends
// with the gradient that one process gets from the whole batch.
//
//     rank 0     [ 0 1 | 2 3 ]                 T = 2, batch = 7, micro_batches = 2
//     rank 1     [ 4 5 | 6 ]
//
// The loss is the mean over all 7 samples. What is the weight of each of the four micro-batches' means? (Their plain
// mean is wrong: sample 6 would count twice as much as sample 5.)
//
//  * AverageGradients divides by T. What does that mean for the weights?
//  * backward() adds to the gradients that are there: only the last micro-batch is followed by messages.
//  * A rank may have no samples at all. Its peers wait for it all the same.
//  * Returned is this rank's share of the loss: the shares of all ranks add up to the loss of the batch.

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/communication/buckets.hpp"

namespace shardlab {

double DataParallelStep(Communicator& comm, const Trainable& model, const at::Tensor& inputs, const at::Tensor& targets,
                        int64_t batch, int64_t micro_batches, int64_t bucket_bytes) {
  (void)comm, (void)model, (void)inputs, (void)targets, (void)batch, (void)micro_batches, (void)bucket_bytes;
  throw NotImplemented("communication.autograd: DataParallelStep (exercises/communication/data_parallel.cpp)");
}

}  // namespace shardlab
