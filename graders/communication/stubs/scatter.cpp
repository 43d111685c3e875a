#include "shardlab/communication/scatter.hpp"

// TASK communication.trees: Scatter
//
// Deal the rows of the root's tensor out: rank r gets rows[r] of them, in order. Every row travels once, straight from
// the root.
//
//     whole on the root        rows = {2, 1, 0, 2}
//     +---+---+---+---+---+
//     | 0   0 | 1 | 3   3 |    rank 0 gets rows 0 and 1, rank 1 row 2, rank 2 none, rank 3 rows 3 and 4
//     +---+---+---+---+---+
//
//  * On the other ranks `whole` tells the dtype and the dimensions behind the first; its own number of rows means
//    nothing.
//  * The root returns its part like everybody else: a new tensor, not a view of `whole`.
//  * A Send returns when its receive has been posted. Should rank 3 wait until rank 1 is there?

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

at::Tensor Scatter(Communicator& comm, const at::Tensor& whole, const std::vector<int64_t>& rows, int root) {
  (void)comm, (void)whole, (void)rows, (void)root;
  throw NotImplemented("communication.trees: Scatter (exercises/communication/scatter.cpp)");
}

}  // namespace shardlab
