#include "shardlab/communication/tree_reduce.hpp"

// TASK communication.trees: TreeReduce
//
// The contract is the header above, the figure is that of TreeBroadcast, read backwards. Before you write:
//
//  * Where TreeBroadcast sends to a child, what happens here? In which order?
//  * Into which tensor do you add? Who still needs `value`?
//  * What does a rank that is not the root return?

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

at::Tensor TreeReduce(Communicator& comm, const at::Tensor& value, int root) {
  (void)comm, (void)value, (void)root;
  throw NotImplemented("communication.trees: TreeReduce (exercises/communication/tree_reduce.cpp)");
}

}  // namespace shardlab
