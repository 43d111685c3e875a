#include "shardlab/communication/tree_reduce.hpp"

// TASK communication.trees: TreeReduce
//
// Add the tensors of all ranks up on the root: TreeBroadcast's film run backwards, with an addition wherever an arrow
// ends.
//
//     step 1    0 <-- 1      2 <-- 3         4 <-- 5      6 <-- 7
//     step 2    0 <--------- 2               4 <--------- 6
//     step 3    0 <------------------------- 4
//
//  * Any number of ranks, any root.
//  * The result is on the root; the others return an undefined tensor: at::Tensor().
//  * `value` stays as it is: do not add into it.
//  * Not every dtype is a float.

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

at::Tensor TreeReduce(Communicator& comm, const at::Tensor& value, int root) {
  (void)comm, (void)value, (void)root;
  throw NotImplemented("communication.trees: TreeReduce (exercises/communication/tree_reduce.cpp)");
}

}  // namespace shardlab
