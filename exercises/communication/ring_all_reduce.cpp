#include "shardlab/communication/ring_all_reduce.hpp"

// TASK communication.allreduce: RingAllReduce
//
// Add the tensors of all ranks up and give every rank the whole sum, in 2(T - 1) rounds and 2(T - 1) * S bytes in all.
//
//     A B C D         A . . .         A B C D
//     A B C D   ->    . B . .   ->    A B C D      capital letters: chunks; in the middle and on the right
//     A B C D   (1)   . . C .   (2)   A B C D      they are sums over all ranks
//     A B C D         . . . D         A B C D
//
// You have both halves already.
//
//  * The chunks are chunks of ELEMENTS: a tensor of shape [1, 1000], or [2, 3, 5] on 4 ranks, divides as evenly as it
//    can, and one without dimensions has one element.
//  * The result has the input's shape, and the same bits on every rank.

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/communication/ring_all_gather.hpp"
#include "shardlab/communication/ring_reduce_scatter.hpp"

namespace shardlab {

at::Tensor RingAllReduce(Communicator& comm, const at::Tensor& input) {
  (void)comm, (void)input;
  throw NotImplemented("communication.allreduce: RingAllReduce (exercises/communication/ring_all_reduce.cpp)");
}

}  // namespace shardlab
