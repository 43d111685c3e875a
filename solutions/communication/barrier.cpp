#include "shardlab/communication/barrier.hpp"

// The dissemination barrier
// =========================
// In round k every rank tells the one 2^k to its right that it is here, and so are all that it has heard of. T = 5;
// whom rank 0 has heard of after each round:
//
//     at first    0
//     round 0     0  4                distance 1: from rank 4
//     round 1     0  4  3  2          distance 2: from rank 3, who has heard of 2
//     round 2     0  4  3  2  1       distance 4: from rank 1
//
//     (1)  The known ranks double with each round: ceil(log2 T) rounds, for any T, and no rank is special.
//     (2)  The message says all by arriving. One byte is enough.
//     (3)  Round k + 1 begins when round k's message has come: passing on what one has not yet heard would be a lie.

#include <ATen/ATen.h>

namespace shardlab {

void Barrier(Communicator& comm) {
  const int ranks = comm.size(), rank = comm.rank();
  const at::Tensor here = at::zeros({1}, at::kByte), heard = at::zeros({1}, at::kByte);  // (2)
  for (int distance = 1; distance < ranks; distance *= 2) {                              // (1)
    auto send = comm.ISend(here, (rank + distance) % ranks);
    comm.Recv(heard, (rank - distance + ranks) % ranks);  // (3)
    send->Wait();
  }
}

}  // namespace shardlab
