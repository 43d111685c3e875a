#include "shardlab/communication/recursive_doubling.hpp"

// TASK communication.doubling: RecursiveDoublingAllReduce
//
// The contract is the header above, the figure is in section 6 of the handout. Before you write:
//
//  * With T = 6 and with T = 7: who folds into whom, and who sits out?
//  * Both partners send AND receive in a round. What must not change yet?
//  * Why do all ranks get the same bits, also in float32?

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

at::Tensor RecursiveDoublingAllReduce(Communicator& comm, const at::Tensor& input) {
  (void)comm, (void)input;
  throw NotImplemented(
      "communication.doubling: RecursiveDoublingAllReduce (exercises/communication/recursive_doubling.cpp)");
}

}  // namespace shardlab
