#include "shardlab/communication/data_parallel.hpp"

// TASK communication.autograd: DataParallelStep
//
// The contract is the header above. Before you write:
//
//     rank 0     [ 0 1 | 2 3 ]                 T = 2, batch = 7, micro_batches = 2
//     rank 1     [ 4 5 | 6 ]
//
//  * By what must the mean loss of each of the four micro-batches be multiplied, so that the sum is the mean over all
//    7 samples?
//  * AverageGradients divides by T. What does that mean for these weights?
//  * backward() adds to the gradients that are there. When is the time for messages?
//  * A rank may have no samples at all. Who waits for it?

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
