#include "shardlab/communication/gather.hpp"

// Collecting rows
// ===============
// Scatter with its arrows turned round.
//
//      rank 0 rank 1 rank 3     rows = {2, 1, 0, 2}
//         |     |     |
//     +---+---+---+---+---+    (1) every part is received where it belongs: a slice of rows is contiguous memory
//     | 0   0 | 1 | 3   3 |    (2) all receives are posted before the first is waited for, so that the ranks may come
//     +---+---+---+---+---+        in any order
//     result on the root       (3) an empty part needs no message

#include <ATen/ATen.h>

namespace shardlab {

at::Tensor Gather(Communicator& comm, const at::Tensor& mine, const std::vector<int64_t>& rows, int root) {
  if (comm.rank() != root) {
    if (mine.numel() > 0) comm.Send(mine.contiguous(), root);  // (3)
    return {};
  }

  std::vector<int64_t> shape = mine.sizes().vec();
  shape[0] = 0;
  for (int64_t count : rows) shape[0] += count;
  at::Tensor whole = at::empty(shape, mine.options());

  std::vector<std::unique_ptr<Work>> receives;
  int64_t begin = 0;
  for (int rank = 0; rank < comm.size(); ++rank) {
    const at::Tensor part = whole.narrow(0, begin, rows[rank]);
    begin += rows[rank];
    if (rank == root) {
      part.copy_(mine);
    } else if (part.numel() > 0) {
      receives.push_back(comm.IRecv(part, rank));  // (1) (2)
    }
  }
  for (auto& receive : receives) receive->Wait();
  return whole;
}

}  // namespace shardlab
