#include "shardlab/communication/scatter.hpp"

// Dealing rows out
// ================
//     whole on the root        rows = {2, 1, 0, 2}
//     +---+---+---+---+---+
//     | 0   0 | 1 | 3   3 |     part r begins where the parts before it end
//     +---+---+---+---+---+
//         |     |     |
//      rank 0 rank 1 rank 3    (1) all sends are started before the first is waited for: nobody waits for a slower one
//                              (2) the root's own part is copied, not sent
//                              (3) rank 2's part is empty: both sides see that in `rows`, and no message is needed
//
// A tree would need fewer steps, but rows of the lower ranks would travel through others: more bytes.

#include <ATen/ATen.h>

namespace shardlab {

at::Tensor Scatter(Communicator& comm, const at::Tensor& whole, const std::vector<int64_t>& rows, int root) {
  std::vector<int64_t> shape = whole.sizes().vec();
  shape[0] = rows[comm.rank()];
  at::Tensor mine = at::empty(shape, whole.options());

  if (comm.rank() != root) {
    if (mine.numel() > 0) comm.Recv(mine, root);  // (3)
    return mine;
  }

  const at::Tensor contiguous = whole.contiguous();  // rows of a contiguous tensor are contiguous
  std::vector<std::unique_ptr<Work>> sends;
  int64_t begin = 0;
  for (int rank = 0; rank < comm.size(); ++rank) {
    const at::Tensor part = contiguous.narrow(0, begin, rows[rank]);
    begin += rows[rank];
    if (rank == root) {
      mine.copy_(part);  // (2)
    } else if (part.numel() > 0) {
      sends.push_back(comm.ISend(part, rank));  // (1)
    }
  }
  for (auto& send : sends) send->Wait();
  return mine;
}

}  // namespace shardlab
