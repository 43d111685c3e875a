#include "shardlab/communication/buckets.hpp"

#include <ATen/ATen.h>

namespace shardlab {

Buckets AssignBuckets(const std::vector<int64_t>& bytes, int64_t limit) {
  Buckets buckets;
  for (size_t last = bytes.size(); last > 0;) {
    std::vector<int64_t> bucket = {static_cast<int64_t>(last) - 1};
    int64_t room = limit - bytes[--last];
    while (last > 0 && bytes[last - 1] <= room) {
      room -= bytes[--last];
      bucket.push_back(static_cast<int64_t>(last));
    }
    buckets.push_back(bucket);
  }
  return buckets;
}

// cat and narrow in place of Flatten and Unflatten; divides first, and sets new tensors as the gradients.
void AverageGradients(Communicator& comm, const std::vector<at::Tensor>& parameters, int64_t bucket_bytes) {
  std::vector<int64_t> bytes;
  for (const at::Tensor& parameter : parameters) bytes.push_back(parameter.numel() * parameter.element_size());
  for (const auto& bucket : AssignBuckets(bytes, bucket_bytes)) {
    std::vector<at::Tensor> rows;
    for (int64_t i : bucket) {
      const at::Tensor gradient = parameters[i].grad();
      rows.push_back(gradient.defined()
                         ? gradient.reshape({-1})
                         : at::zeros({parameters[i].numel()}, parameters[i].options().requires_grad(false)));
    }
    const at::Tensor flat = at::cat(rows) / comm.size();
    comm.IAllReduce(flat)->Wait();
    int64_t begin = 0;
    for (int64_t i : bucket) {
      parameters[i].mutable_grad() = flat.narrow(0, begin, parameters[i].numel()).view(parameters[i].sizes()).clone();
      begin += parameters[i].numel();
    }
  }
}

}  // namespace shardlab
