#include "shardlab/communication/tree_reduce.hpp"

// The sum along a binomial tree
// =============================
// The broadcast's film, run backwards: the same tree, the same messages, every arrow turned round, and an addition
// wherever an arrow ends.
//
//     step 1    000 <- 001    010 <- 011    100 <- 101    110 <- 111         T = 8
//     step 2    000 <-------- 010           100 <-------- 110
//     step 3    000 <---------------------- 100
//
//     (1)  v counts from the root: v = (rank - root) mod T.
//     (2)  From the lowest bit up: while the bit is 0 in v, the child v + bit sends its sum, if there is such a rank.
//     (3)  At v's lowest 1 the sum of v's whole subtree is complete, and goes to v without that 1.

#include <ATen/ATen.h>

namespace shardlab {

at::Tensor TreeReduce(Communicator& comm, const at::Tensor& value, int root) {
  const int ranks = comm.size();
  const int v = (comm.rank() - root + ranks) % ranks;  // (1)
  const auto rank_of = [&](int number) { return (number + root) % ranks; };

  at::Tensor sum = value.clone(at::MemoryFormat::Contiguous);
  at::Tensor arrived = at::empty_like(sum);
  for (int bit = 1; bit < ranks; bit *= 2) {
    if (v & bit) {
      comm.Send(sum, rank_of(v - bit));  // (3)
      return {};
    }
    if (v + bit < ranks) {  // (2)
      comm.Recv(arrived, rank_of(v + bit));
      sum.add_(arrived);
    }
  }
  return sum;
}

}  // namespace shardlab
