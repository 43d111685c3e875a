#pragma once

#include <ATen/core/Tensor.h>

#include "shardlab/base/contract.hpp"
#include "shardlab/comm/communicator.hpp"

namespace shardlab {

/// Adds the tensors of all ranks up on the root, along a binomial tree.
///
/// The broadcast run backwards: where that passes the tensor on to a child, this receives the child's sum and adds it.
/// T is the number of ranks and S the bytes of the tensor.
///
/// Cost: T - 1 messages of S bytes, one from every rank but the root; ceil(log2 T) steps when every rank sends, and
/// receives, one message at a time. A rank alone sends nothing.
///
/// \param comm  point-to-point messages only; any number of ranks.
/// \param value this rank's summand: any shape and strides, any dtype that can be added; shape and dtype are the same
///              on every rank. It is left as it is.
/// \param root  a rank of `comm`, the same on every rank.
/// \returns on the root a new contiguous tensor, the sum over all ranks; on the others an undefined tensor.
/// \throws CommError when a message fails or does not arrive in time.
///
/// Source: R. Thakur, R. Rabenseifner, W. Gropp, "Optimization of Collective Communication Operations in MPICH",
/// 2005.
SHARDLAB_CONTRACT at::Tensor TreeReduce(Communicator& comm, const at::Tensor& value, int root);

}  // namespace shardlab
