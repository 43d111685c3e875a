#pragma once

#include <cstdint>
#include <memory>

#include "shardlab/autograd/conjugate_op.hpp"
#include "shardlab/base/contract.hpp"
#include "shardlab/comm/communicator.hpp"

/// \file
/// The differentiable operators between ranks, each a pair of plain functions: `forward` maps a tensor to a tensor, and
/// `backward` maps the gradient of forward's result to the gradient of its input. Apply (shardlab/autograd) makes a
/// node of the autograd graph of such a pair.
///
/// A tensor is *replicated* when every rank holds the same one, *sharded* when every rank holds its part, and *partial*
/// when the value is the sum over all ranks of what they hold. A gradient lies like its tensor, except that a
/// replicated tensor's gradient is at first partial: every rank knows only what came along its own path.
///
///     operator   forward                  backward                  from -> to
///     Copy       identity                 all-reduce                replicated -> used differently by every rank
///     Reduce     all-reduce               identity                  partial    -> replicated
///     Scatter    slice                    all-gather                replicated -> sharded
///     Gather     all-gather               slice                     sharded    -> replicated
///
/// Copy and Reduce, Scatter and Gather are conjugate: the backward of one is the forward of the other.
///
/// For all of them: forward leaves its input as it is and returns a new tensor, any number of ranks, any shape and
/// strides, any floating dtype. They use the communicator's own collectives. An operator whose backward communicates
/// does so on every rank, also on one whose input needs no gradient, because the others wait for its part: it sets
/// ConjugateOp::always. An operator keeps its communicator, and so do the nodes made of it. It may be applied several
/// times, to tensors of different shapes, before the first backward.
///
/// Source: Shoeybi et al., "Megatron-LM", arXiv 1909.08053, section 3 (f and g are Copy and Reduce).

namespace shardlab {

/// Where a replicated tensor begins to be used differently by every rank: forward is the identity, backward adds the
/// ranks' gradients up. Cost: backward one AllReduce of the tensor.
SHARDLAB_CONTRACT ConjugateOp CopyOperator(std::shared_ptr<Communicator> comm);

/// Where partial results become one: forward adds them up, backward is the identity. Cost: forward one AllReduce of the
/// tensor.
SHARDLAB_CONTRACT ConjugateOp ReduceOperator(std::shared_ptr<Communicator> comm);

/// Forward keeps this rank's slice of a replicated tensor, SplitRange(size, T, rank) along dimension `dim`; backward
/// gathers the slices' gradients. Cost: backward one AllGather.
/// \param size the full tensor's size along `dim`, any number from 0 on.
SHARDLAB_CONTRACT ConjugateOp ScatterOperator(std::shared_ptr<Communicator> comm, int64_t dim, int64_t size);

/// Forward gathers all ranks' slices along dimension `dim`, slice r of size SplitRange(size, T, r); backward keeps
/// this rank's slice of the gradient. Cost: forward one AllGather.
/// \param size the full tensor's size along `dim`, any number from 0 on.
SHARDLAB_CONTRACT ConjugateOp GatherOperator(std::shared_ptr<Communicator> comm, int64_t dim, int64_t size);

/// Forward sends the input to rank `to` and returns what rank `from` sent; backward sends the gradient to `from` and
/// returns what `to` sent, the gradient of the input. Inputs have one shape and dtype on all ranks that exchange.
///
/// `to` or `from` may be -1, at the end of a row of ranks: nothing is sent, and zeros of the input's shape are what
/// "arrives" from there, in forward as in backward. `to` of one rank is `from` of the other. Cost: forward and backward
/// one point-to-point message each (none where -1). No order of the ranks deadlocks.
SHARDLAB_CONTRACT ConjugateOp SendReceiveOperator(std::shared_ptr<Communicator> comm, int to, int from);

}  // namespace shardlab
