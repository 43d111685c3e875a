#include "shardlab/communication/buckets.hpp"

// Averaging gradients in buckets
// ==============================
// A message costs a start and a time for each byte. One all-reduce a parameter pays the start hundreds of times; one
// for the whole model can only begin when the last gradient is there. Buckets lie between.
//
//     parameters     0 |  1  | 2 | 3 |    4     | 5 |       sizes in bytes, limit = the width of a bucket
//     buckets        { 0    1 }  { 2    3 }  { 4 }  { 5 }
//     ready as       4th         3rd         2nd    1st     backward runs from the last layer to the first
//
//     (1)  So the buckets are filled from the back, and numbered in the order in which they become ready.
//     (2)  A tensor that does not fit opens the next bucket; one that is larger than the limit is alone in its own.
//     (3)  A parameter that took no part in this rank's loss has no gradient here, but may have one on another rank:
//          it travels as zeros.
//     (4)  The mean: the sum divided by the number of ranks, once, after the all-reduce.

#include <ATen/ATen.h>

#include "shardlab/communication/flatten.hpp"

namespace shardlab {

Buckets AssignBuckets(const std::vector<int64_t>& bytes, int64_t limit) {
  Buckets buckets;
  int64_t filled = 0;
  for (int64_t i = static_cast<int64_t>(bytes.size()) - 1; i >= 0; --i) {  // (1)
    if (buckets.empty() || filled + bytes[i] > limit) {                    // (2)
      buckets.emplace_back();
      filled = 0;
    }
    buckets.back().push_back(i);
    filled += bytes[i];
  }
  return buckets;
}

void AverageGradients(Communicator& comm, const std::vector<at::Tensor>& parameters, int64_t bucket_bytes) {
  std::vector<int64_t> bytes;
  for (const at::Tensor& parameter : parameters) bytes.push_back(static_cast<int64_t>(parameter.nbytes()));

  for (const std::vector<int64_t>& bucket : AssignBuckets(bytes, bucket_bytes)) {
    std::vector<at::Tensor> gradients;
    for (int64_t i : bucket) {
      at::Tensor& gradient = parameters[i].mutable_grad();
      if (!gradient.defined()) gradient = at::zeros_like(parameters[i]);  // (3)
      gradients.push_back(gradient);
    }
    const at::Tensor flat = Flatten(gradients);
    comm.AllReduce(flat);
    flat.div_(comm.size());  // (4)
    Unflatten(flat, gradients);
  }
}

}  // namespace shardlab
