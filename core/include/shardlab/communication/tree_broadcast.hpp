#pragma once

#include <ATen/core/Tensor.h>

#include "shardlab/base/contract.hpp"
#include "shardlab/comm/communicator.hpp"

namespace shardlab {

/// Brings the root's tensor to every rank along a binomial tree.
///
/// A rank that has the tensor passes it on, so that the number of ranks that have it doubles with every step. T is the
/// number of ranks and S the bytes of the tensor.
///
/// Cost: T - 1 messages of S bytes, one to every rank but the root; ceil(log2 T) steps when every rank sends, and
/// receives, one message at a time. A rank alone sends nothing.
///
/// \param comm  point-to-point messages only; any number of ranks.
/// \param value on the root, what is sent: any shape (also with no element, or with no dimension), dtype and strides.
///              On the other ranks a tensor of the same shape and dtype, whose values do not matter. It is left as it
///              is.
/// \param root  a rank of `comm`, the same on every rank.
/// \returns a new contiguous tensor with the root's values, on the root too.
/// \throws CommError when a message fails or does not arrive in time.
///
/// Source: R. Thakur, R. Rabenseifner, W. Gropp, "Optimization of Collective Communication Operations in MPICH",
/// 2005.
SHARDLAB_CONTRACT at::Tensor TreeBroadcast(Communicator& comm, const at::Tensor& value, int root);

}  // namespace shardlab
