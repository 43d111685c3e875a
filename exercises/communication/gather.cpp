#include "shardlab/communication/gather.hpp"

// TASK communication.trees: Gather
//
// Collect every rank's rows on the root, in the order of the ranks: Scatter with its arrows turned round.
//
//     rows = {2, 1, 0, 2}
//     +---+---+---+---+---+
//     | 0   0 | 1 | 3   3 |    result on the root
//     +---+---+---+---+---+
//
//  * The result is on the root; the others return an undefined tensor: at::Tensor().
//  * A slice of rows of a contiguous tensor is contiguous itself: a message can be received right where it belongs.
//  * The ranks may arrive in any order.

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

at::Tensor Gather(Communicator& comm, const at::Tensor& mine, const std::vector<int64_t>& rows, int root) {
  (void)comm, (void)mine, (void)rows, (void)root;
  throw NotImplemented("communication.trees: Gather (exercises/communication/gather.cpp)");
}

}  // namespace shardlab
