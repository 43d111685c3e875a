#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "shardlab/base/contract.hpp"
#include "shardlab/comm/communicator.hpp"

namespace shardlab {

/// Which tensors travel together: bucket b holds the tensors with the indices `buckets[b]`.
using Buckets = std::vector<std::vector<int64_t>>;

/// Fills buckets with tensors, beginning with the LAST one, because backward computes the gradients of the last layer
/// first.
///
/// The tensors n-1, n-2, ..., 0 are put into the current bucket one by one; one that would make it larger than `limit`
/// bytes opens the next bucket. A tensor that is larger than `limit` by itself has a bucket of its own.
///
///     AssignBuckets({100, 20, 30, 40}, 80)  ==  {{3, 2}, {1}, {0}}
///
/// \param bytes each tensor's size.
/// \param limit the most bytes that a bucket of several tensors holds; at least 1.
/// \returns the buckets in the order in which they become ready; every index is in exactly one of them.
SHARDLAB_CONTRACT Buckets AssignBuckets(const std::vector<int64_t>& bytes, int64_t limit);

/// Replaces every parameter's gradient by its mean over the ranks of `comm`.
///
/// The gradients are put into buckets (AssignBuckets over the parameters' bytes), every bucket is flattened and travels
/// as one all-reduce, in the order of the buckets. A parameter without a gradient (it took no part in this rank's loss)
/// counts as zero, and has a gradient afterwards. S is the bytes of all parameters.
///
/// Cost: one AllReduce of the communicator a bucket, S bytes handed to them by every rank.
///
/// \param comm         any communicator; its AllReduce is used.
/// \param parameters   leaf tensors of one floating dtype, the same ones in the same order on every rank.
/// \param bucket_bytes the limit for AssignBuckets.
/// \throws CommError when an all-reduce fails or does not complete in time.
///
/// Source: S. Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel Training", arXiv 2006.15704.
SHARDLAB_CONTRACT void AverageGradients(Communicator& comm, const std::vector<at::Tensor>& parameters,
                                        int64_t bucket_bytes);

}  // namespace shardlab
