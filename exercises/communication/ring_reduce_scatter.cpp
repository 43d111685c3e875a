#include "shardlab/communication/ring_reduce_scatter.hpp"

// TASK communication.ring: RingReduceScatter
//
// The contract is the header above, the figure is in section 2 of the handout. Before you write:
//
//  * All T parts travel at once. Which part does rank r send in round 0? Which one arrives in round k, and what is
//    sent in round k + 1?
//  * Into which tensor do you add what arrives? `input` is the caller's, and what is being sent must not change.
//  * Where T does not divide the rows, which parts are longer? Does LibTorch's chunk() agree?

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"

namespace shardlab {

at::Tensor RingReduceScatter(Communicator& comm, const at::Tensor& input) {
  (void)comm, (void)input;
  throw NotImplemented("communication.ring: RingReduceScatter (exercises/communication/ring_reduce_scatter.cpp)");
}

}  // namespace shardlab
