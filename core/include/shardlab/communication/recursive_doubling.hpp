#pragma once

#include <ATen/core/Tensor.h>

#include "shardlab/base/contract.hpp"
#include "shardlab/comm/communicator.hpp"

namespace shardlab {

/// Adds the tensors of all ranks up and gives every rank the whole sum, in as few rounds as possible.
///
/// In round k rank r exchanges its whole partial sum with the rank whose number differs in bit k, so that every partial
/// sum covers twice as many ranks as before. Where T is no power of two, let P be the largest one below it: the T - P
/// extra ranks first fold their tensors into a partner's, sit out, and are sent the result. S is the bytes of the
/// tensor and T the number of ranks.
///
/// Cost: log2 T rounds and T * log2 T messages of S bytes where T is a power of two; otherwise floor(log2 T) + 2 rounds
/// and P * log2 P + 2(T - P) messages. That is more bytes than the ring's 2(T - 1) * S and far fewer rounds: better for
/// small tensors, where the round is what costs.
///
/// \param comm  point-to-point messages only; any number of ranks.
/// \param input this rank's summand: any shape (with one element, with none, with no dimension), any strides, any dtype
///              that can be added. Shape and dtype are the same on every rank. It is left as it is.
/// \returns a new contiguous tensor of the input's shape: the sum over all ranks, with the same bits on every rank.
/// \throws CommError when a message fails or does not arrive in time.
///
/// Source: R. Thakur, R. Rabenseifner, W. Gropp, "Optimization of Collective Communication Operations in MPICH",
/// 2005.
SHARDLAB_CONTRACT at::Tensor RecursiveDoublingAllReduce(Communicator& comm, const at::Tensor& input);

}  // namespace shardlab
