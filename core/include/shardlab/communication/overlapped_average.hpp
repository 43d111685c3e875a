#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "shardlab/base/contract.hpp"
#include "shardlab/comm/communicator.hpp"

namespace shardlab {

/// Averages gradients over the ranks while backward is still computing the rest of them.
///
///     auto average = MakeOverlappedAverage(comm, parameters, bucket_bytes);
///     for (every step) {
///       for (i = 0; i < micro_batches; ++i) {
///         average->Begin(i + 1 == micro_batches);   // does this backward complete the gradients?
///         loss(i).backward();                       // buckets leave as they become ready
///       }
///       average->Finish();                          // every gradient is the mean
///     }
///
/// One thread uses it: the one that calls backward. It may be destroyed between steps, also after a backward that
/// threw.
class OverlappedAverage {
 public:
  virtual ~OverlappedAverage() = default;

  /// Says that a backward follows. With `last` its gradients are complete when they are ready, and travel; without,
  /// they only accumulate and nothing is sent.
  virtual void Begin(bool last) = 0;

  /// Waits for all buckets and replaces every parameter's gradient by its mean over the ranks. Called once a step,
  /// after the last backward. A bucket that never became complete (a parameter took no part in this rank's loss) leaves
  /// here; a parameter without a gradient counts as zero and has one afterwards. \throws CommError when an all-reduce
  /// fails or does not complete in time.
  virtual void Finish() = 0;
};

/// Prepares for a model's parameters: puts them into buckets (AssignBuckets) and asks to be told when a gradient is
/// ready (OnGradientReady).
///
/// As soon as all gradients of a bucket are ready, and all buckets before it have left, it is flattened and its
/// all-reduce is started. The order of the buckets is the same on every rank, whatever order the gradients come in. S
/// is the bytes of all parameters.
///
/// Cost: one IAllReduce of the communicator a bucket and step, S bytes handed to them by every rank. Where backward
/// takes time C, evenly divided among n buckets, and the link carries one bucket in time d, a step takes about
/// max(C, n d) + min(C / n, d) instead of C + n d.
///
/// \param comm         any communicator; its IAllReduce is used. It outlives the result's last use.
/// \param parameters   leaf tensors of one floating dtype that require gradients, the same ones in the same order on
///                     every rank.
/// \param bucket_bytes the limit for AssignBuckets.
///
/// Source: S. Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel Training", arXiv 2006.15704.
SHARDLAB_CONTRACT std::unique_ptr<OverlappedAverage> MakeOverlappedAverage(std::shared_ptr<Communicator> comm,
                                                                           std::vector<at::Tensor> parameters,
                                                                           int64_t bucket_bytes);

}  // namespace shardlab
