#pragma once

#include <cstdint>
#include <memory>

#include <ATen/core/Tensor.h>

#include "shardlab/base/contract.hpp"
#include "shardlab/comm/communicator.hpp"

/// \file
/// The doors of a sharded region: where replicated tensors go in, and where they come out again.
///
///                        forward       backward      what it turns into what
///     CopyToShards       identity      all-reduce    replicated x -> x, of which every rank uses its own part
///     ReduceFromShards   all-reduce    identity      partial y    -> replicated y
///     GatherFromShards   all-gather    slice         sharded y    -> replicated y
///
/// Why the backward of "do nothing" is a sum: inside the region every rank computes something else from the same x, so
/// every rank's backward knows only what came along its own path, and dL/dx is the sum over the paths. And why the
/// backward of the sum is "do nothing": y = y_0 + ... + y_(T-1), so dL/dy_t = dL/dy, and every rank already holds that.
/// The same argument makes the backward of the gather a slice: what follows is computed by every rank alike, ONE loss
/// and not T of them, so the T equal gradients are not added.
///
/// For all three: the result is a new tensor (never the input itself), the input and the incoming gradient stay as they
/// are. An incoming gradient may be shared with other branches of the graph, non-contiguous, or one number expanded to
/// the whole shape. Any shape, any floating dtype, any number of ranks, also 1.
///
/// Source: Shoeybi et al., "Megatron-LM", arXiv 1909.08053, section 3 (its f is CopyToShards, its g ReduceFromShards).

namespace shardlab {

/// Forward: the identity. Backward: the sum over all ranks of the incoming gradients, the same bits on every rank.
///
/// Cost: forward nothing; backward one AllReduce of x's elements, none when x needs no gradient.
/// \param x replicated; it needs a gradient on every rank or on none.
SHARDLAB_CONTRACT at::Tensor CopyToShards(const at::Tensor& x, std::shared_ptr<Communicator> comm);

/// Forward: the sum over all ranks of `y`, the same bits on every rank. Backward: the identity.
///
/// Cost: forward one AllReduce of y's elements; backward nothing.
/// \param y partial, of the same shape on every rank.
SHARDLAB_CONTRACT at::Tensor ReduceFromShards(const at::Tensor& y, std::shared_ptr<Communicator> comm);

/// Forward: all ranks' shards one after the other along dimension `dim`. Backward: this rank's slice of the incoming
/// gradient.
///
/// Cost: forward one AllGather, to which every rank gives its shard; backward nothing.
/// \param y_shard rank t's is SplitRange(size, T, t) long along `dim`, which may be 0, and alike in all other
/// dimensions. \param dim counted from the back when negative, as in LibTorch. \param size the full tensor's size along
/// `dim`.
SHARDLAB_CONTRACT at::Tensor GatherFromShards(const at::Tensor& y_shard, int64_t dim, int64_t size,
                                              std::shared_ptr<Communicator> comm);

}  // namespace shardlab
