#include "shardlab/communication/tree_broadcast.hpp"

// The broadcast along a binomial tree
// ===================================
// Number the ranks from the root: v = (rank - root) mod T, so that the root is 0 whoever it is. Written in binary, a
// number's parent is the number without its lowest 1; its children are those that set one of the 0s below it.
//
//     step 1    000 ----------------------------------> 100                  T = 8
//     step 2    000 --------> 010                       100 --------> 110
//     step 3    000 -> 001    010 -> 011                100 -> 101    110 -> 111
//
//     (1)  Everyone but the root first receives, from v without its lowest 1.
//     (2)  Then it serves its children, the largest subtree first: 100 has three steps of work below it, 001 none.
//          In the other order T = 8 takes six steps instead of three.
//     (3)  Where T is no power of two the children that would be T or more do not exist.
//
// A step doubles the number of ranks that have the tensor: ceil(log2 T) steps, and everybody but the root receives
// exactly once: T - 1 messages.

#include <ATen/ATen.h>

namespace shardlab {

at::Tensor TreeBroadcast(Communicator& comm, const at::Tensor& value, int root) {
  const int ranks = comm.size();
  const int v = (comm.rank() - root + ranks) % ranks;
  const auto rank_of = [&](int number) { return (number + root) % ranks; };

  at::Tensor tensor;
  int lowest;  // the lowest 1 of v; for the root the first power of two that is no rank's number
  if (v == 0) {
    tensor = value.clone(at::MemoryFormat::Contiguous);
    for (lowest = 1; lowest < ranks; lowest *= 2) {
    }
  } else {
    tensor = at::empty(value.sizes(), value.options());
    lowest = v & -v;
    comm.Recv(tensor, rank_of(v - lowest));  // (1)
  }

  for (int bit = lowest / 2; bit >= 1; bit /= 2) {             // (2)
    if (v + bit < ranks) comm.Send(tensor, rank_of(v + bit));  // (3)
  }
  return tensor;
}

}  // namespace shardlab
