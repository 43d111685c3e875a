#include "shardlab/communication/recursive_doubling.hpp"

#include <ATen/ATen.h>

namespace shardlab {

// Of the first 2(T - P) ranks the even ones give their tensor to their right neighbour and wait; the others are
// numbered anew from 0 to P - 1.
at::Tensor RecursiveDoublingAllReduce(Communicator& comm, const at::Tensor& input) {
  const int ranks = comm.size(), rank = comm.rank();
  int core = 1;
  while (2 * core <= ranks) core *= 2;
  const int folded = ranks - core;
  const auto rank_of = [&](int number) { return number < folded ? 2 * number + 1 : number + folded; };

  at::Tensor sum = input.clone(at::MemoryFormat::Contiguous);
  const at::Tensor theirs = at::empty_like(sum);
  if (rank < 2 * folded && rank % 2 == 0) {
    comm.Send(sum, rank + 1);
    comm.Recv(sum, rank + 1);
    return sum;
  }
  if (rank < 2 * folded) {
    comm.Recv(theirs, rank - 1);
    sum.add_(theirs);
  }
  const int number = rank < 2 * folded ? rank / 2 : rank - folded;
  for (int bit = core / 2; bit >= 1; bit /= 2) {  // the highest bit first
    const int partner = rank_of(number ^ bit);
    auto receive = comm.IRecv(theirs, partner, bit);
    auto send = comm.ISend(sum, partner, bit);
    receive->Wait();
    send->Wait();
    sum.add_(theirs);
  }
  if (rank < 2 * folded) comm.Send(sum, rank - 1);
  return sum;
}

}  // namespace shardlab
