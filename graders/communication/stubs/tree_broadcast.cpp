#include "shardlab/communication/tree_broadcast.hpp"

// TASK communication.trees: TreeBroadcast
//
// The contract is the header above, the figure is in section 1 of the handout. Before you write:
//
//  * Write the ranks of the figure in binary. Who is the parent of 6, of 5, of 7? Whom does 4 send to?
//  * In which order does 4 send? What does the other order cost?
//  * With T = 5 the ranks 5, 6 and 7 do not exist. Does your loop know?
//  * With root 3, which rank is the figure's 000?
//  * `value` may be non-contiguous. What does the communicator take?

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

at::Tensor TreeBroadcast(Communicator& comm, const at::Tensor& value, int root) {
  (void)comm, (void)value, (void)root;
  throw NotImplemented("communication.trees: TreeBroadcast (exercises/communication/tree_broadcast.cpp)");
}

}  // namespace shardlab
