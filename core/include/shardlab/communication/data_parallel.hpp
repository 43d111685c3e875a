#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "shardlab/base/contract.hpp"
#include "shardlab/comm/communicator.hpp"

namespace shardlab {

/// A model as its trainer sees it.
struct Trainable {
  /// The leaf tensors that are trained, in one order on every rank.
  std::vector<at::Tensor> parameters;
  /// The loss of `inputs` with `targets`, a tensor with one element: the MEAN over the samples (the first dimension),
  /// of which there is at least one.
  std::function<at::Tensor(const at::Tensor& inputs, const at::Tensor& targets)> mean_loss;
};

/// Forward and backward of one data-parallel step: leaves on every rank the gradient that one process gets from the
/// whole batch.
///
/// Every rank has its own samples of a batch of `batch` samples, and the same parameters. It computes its samples'
/// share of the gradient, and the shares are added up with AverageGradients. To save memory a rank runs its n samples
/// as min(micro_batches, n) micro-batches (SplitSizes), whose gradients accumulate: what one needs for its backward is
/// freed before the next one begins. Only when the last one is done do the buckets travel.
///
/// The loss of the batch is the mean over all its samples. A mean of n_i samples therefore counts n_i / batch: ranks,
/// and micro-batches, need not have the same number of samples, and a rank may have none.
///
/// Cost: as AverageGradients, however many micro-batches there are. The loss is not communicated.
///
/// \param comm          the data-parallel ranks.
/// \param model         the same parameters on every rank; their gradients are undefined or zero when this is called.
/// \param inputs        this rank's samples, along the first dimension; it may have none.
/// \param targets       theirs.
/// \param batch         the number of samples on all ranks together, at least 1.
/// \param micro_batches at least 1.
/// \param bucket_bytes  as in AverageGradients.
/// \returns this rank's share of the batch's loss: the sum of the shares over all ranks is the loss.
/// \throws CommError when an all-reduce fails or does not complete in time.
SHARDLAB_CONTRACT double DataParallelStep(Communicator& comm, const Trainable& model, const at::Tensor& inputs,
                                          const at::Tensor& targets, int64_t batch, int64_t micro_batches,
                                          int64_t bucket_bytes);

}  // namespace shardlab
