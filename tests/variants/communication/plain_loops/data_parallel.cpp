#include "shardlab/communication/data_parallel.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "shardlab/communication/buckets.hpp"

namespace shardlab {

// Adds up the gradients of SUMS over samples, and scales them once, when they have been added.
double DataParallelStep(Communicator& comm, const Trainable& model, const at::Tensor& inputs, const at::Tensor& targets,
                        int64_t batch, int64_t micro_batches, int64_t bucket_bytes) {
  const int64_t samples = inputs.size(0), parts = std::min(micro_batches, samples);
  at::Tensor total = at::zeros({}, at::kDouble);
  for (int64_t part = 0, begin = 0; part < parts; ++part) {
    const int64_t end = begin + samples / parts + (part < samples % parts ? 1 : 0);
    const at::Tensor sum = model.mean_loss(inputs.slice(0, begin, end), targets.slice(0, begin, end)) * (end - begin);
    sum.backward();
    total += sum.detach().to(at::kDouble);
    begin = end;
  }
  AverageGradients(comm, model.parameters, bucket_bytes);
  const double scale = static_cast<double>(comm.size()) / static_cast<double>(batch);
  for (const at::Tensor& parameter : model.parameters) parameter.mutable_grad().mul_(scale);
  return total.item<double>() / static_cast<double>(batch);
}

}  // namespace shardlab
