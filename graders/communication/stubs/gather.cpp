#include "shardlab/communication/gather.hpp"

// TASK communication.trees: Gather
//
// The contract is the header above. Before you write:
//
//  * The ranks may arrive in any order. Does the root listen to rank 2 while it waits for rank 1?
//  * Is a slice of rows of a contiguous tensor contiguous? Can a message be received right where it belongs?
//  * What does a rank that is not the root return?

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

at::Tensor Gather(Communicator& comm, const at::Tensor& mine, const std::vector<int64_t>& rows, int root) {
  (void)comm, (void)mine, (void)rows, (void)root;
  throw NotImplemented("communication.trees: Gather (exercises/communication/gather.cpp)");
}

}  // namespace shardlab
