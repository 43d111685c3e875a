#include "shardlab/communication/scatter.hpp"

// TASK communication.trees: Scatter
//
// The contract is the header above. Before you write:
//
//  * On a rank that is not the root, from what do you know the shape of what arrives?
//  * A Send returns when its receive has been posted. Should rank 3 wait until rank 1 is there?
//  * The root's own part: may it be a view of `whole`?

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

at::Tensor Scatter(Communicator& comm, const at::Tensor& whole, const std::vector<int64_t>& rows, int root) {
  (void)comm, (void)whole, (void)rows, (void)root;
  throw NotImplemented("communication.trees: Scatter (exercises/communication/scatter.cpp)");
}

}  // namespace shardlab
