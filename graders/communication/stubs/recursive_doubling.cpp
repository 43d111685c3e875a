#include "shardlab/communication/recursive_doubling.hpp"

// TASK communication.doubling: RecursiveDoublingAllReduce
//
// An all-reduce in as few rounds as possible: partners whose numbers differ in one bit swap their sums, so that every
// sum covers twice as many ranks after each round. The extra ranks of a T that is no power of two are folded in first,
// and sent the result last.
//
//     fold in    4 --> 0    5 --> 1         T = 6
//     bit 0      0 <-> 1    2 <-> 3
//     bit 1      0 <-> 2    1 <-> 3
//     fold out   0 --> 4    1 --> 5
//
//  * log2 T rounds for a power of two, floor(log2 T) + 2 otherwise.
//  * Both partners send AND receive in a round, and the sum that is being sent must not change yet.
//  * The same bits on every rank, also in float32: why does it come out so by itself?

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

at::Tensor RecursiveDoublingAllReduce(Communicator& comm, const at::Tensor& input) {
  (void)comm, (void)input;
  throw NotImplemented(
      "communication.doubling: RecursiveDoublingAllReduce (exercises/communication/recursive_doubling.cpp)");
}

}  // namespace shardlab
