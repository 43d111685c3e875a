#include "shardlab/communication/tree_broadcast.hpp"

// TASK communication.trees: TreeBroadcast
//
// Bring the root's tensor to every rank, with Send and Recv only, so that the number of ranks that have it doubles with
// every step. (The contract, with shapes and cost, is in the header above.)
//
//     step 1    0 -------------------------> 4                T = 8, root 0
//     step 2    0 ---------> 2               4 ---------> 6
//     step 3    0 --> 1      2 --> 3         4 --> 5      6 --> 7
//
// Write the numbers in binary: who is the parent of 6, of 5, of 7? Whom does 4 send to, and in which order?
//
//  * Any number of ranks: with T = 5 the ranks 5, 6 and 7 do not exist.
//  * Any root: count from it.
//  * Every rank but the root receives exactly once, and no message goes out before it has something to say.
//  * `value` may be non-contiguous, and stays as it is; the communicator takes contiguous tensors only.

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

at::Tensor TreeBroadcast(Communicator& comm, const at::Tensor& value, int root) {
  (void)comm, (void)value, (void)root;
  throw NotImplemented("communication.trees: TreeBroadcast (exercises/communication/tree_broadcast.cpp)");
}

}  // namespace shardlab
