#include "shardlab/communication/data_parallel.hpp"

// One data-parallel step
// ======================
// The loss of the batch is a mean over its samples, so a part of n_i samples with mean loss l_i contributes n_i / B *
// l_i to it, and the gradient is the sum of the contributions' gradients. T = 2, B = 7, micro_batches = 2:
//
//     rank 0     [ 0 1 | 2 3 ]      2/7 l0 + 2/7 l1  -+
//                                                     +-  loss
//     rank 1     [ 4 5 | 6 ]        2/7 l2 + 1/7 l3  -+
//
//     (1)  Every micro-batch is weighted with its own number of samples: l3 counts half of l2.
//     (2)  backward() adds to .grad: micro-batches accumulate there, and nothing travels before the last one.
//     (3)  AverageGradients divides by T what is to be a sum, so the weights are T times larger.
//     (4)  A rank without samples has nothing to compute, but its peers wait for it: it averages all the same.

#include <ATen/ATen.h>

#include <algorithm>

#include "shardlab/base/split.hpp"
#include "shardlab/communication/buckets.hpp"

namespace shardlab {

double DataParallelStep(Communicator& comm, const Trainable& model, const at::Tensor& inputs, const at::Tensor& targets,
                        int64_t batch, int64_t micro_batches, int64_t bucket_bytes) {
  const int64_t samples = inputs.size(0);
  double share = 0;
  if (samples > 0) {  // (4)
    int64_t begin = 0;
    for (int64_t count : SplitSizes(samples, std::min(micro_batches, samples))) {
      const at::Tensor loss = model.mean_loss(inputs.narrow(0, begin, count), targets.narrow(0, begin, count));
      const double weight = static_cast<double>(count) / static_cast<double>(batch);  // (1)
      (loss * (weight * comm.size())).backward();                                     // (2) (3)
      share += weight * loss.item<double>();
      begin += count;
    }
  }
  AverageGradients(comm, model.parameters, bucket_bytes);  // (2) (4)
  return share;
}

}  // namespace shardlab
