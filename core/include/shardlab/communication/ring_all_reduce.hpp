#pragma once

#include <ATen/core/Tensor.h>

#include "shardlab/base/contract.hpp"
#include "shardlab/comm/communicator.hpp"

namespace shardlab {

/// Adds the tensors of all ranks up and gives every rank the whole sum.
///
/// The tensor's elements, in row-major order, are divided into T chunks by SplitSizes, whatever its shape. One trip
/// around the ring leaves every rank with one chunk of the sum; a second one hands the chunks to everybody. S is the
/// bytes of the tensor and T the number of ranks.
///
/// Cost: 2(T - 1) rounds, one message a rank and round; exactly 2(T - 1) * S bytes in all, from each rank 2S less two
/// of its chunks, which is 2(T - 1)/T * S where T divides the number of elements. For large tensors that hardly depends
/// on T, and no all-reduce can send less.
///
/// \param comm  point-to-point messages only; any number of ranks.
/// \param input this rank's summand: any shape (with fewer elements than ranks, with none, with no dimension), any
///              strides, any dtype that can be added. Shape and dtype are the same on every rank. It is left as it is.
/// \returns a new contiguous tensor of the input's shape: the sum over all ranks, with the same bits on every rank.
/// \throws CommError when a message fails or does not arrive in time.
///
/// Source: P. Patarasuk, X. Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009.
SHARDLAB_CONTRACT at::Tensor RingAllReduce(Communicator& comm, const at::Tensor& input);

}  // namespace shardlab
