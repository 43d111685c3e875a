#include "shardlab/communication/recursive_doubling.hpp"

#include <ATen/ATen.h>

namespace shardlab {

at::Tensor RecursiveDoublingAllReduce(Communicator& comm, const at::Tensor& input) {
  const int ranks = comm.size(), rank = comm.rank();
  int core = ranks;
  while (core & (core - 1)) core &= core - 1;  // the highest bit alone

  at::Tensor sum = at::empty(input.sizes(), input.options());
  sum.copy_(input);
  if (rank >= core) {
    const at::Tensor result = at::empty_like(sum);
    auto receive = comm.IRecv(result, rank - core);  // posted long before it is needed
    comm.Send(sum, rank - core);
    receive->Wait();
    return result;
  }
  if (rank + core < ranks) {
    const at::Tensor theirs = at::empty_like(sum);
    comm.Recv(theirs, rank + core);
    sum = sum + theirs;
  }
  for (int bit = 1; bit < core; bit <<= 1) {
    const at::Tensor theirs = at::empty_like(sum);
    auto receive = comm.IRecv(theirs, rank ^ bit);
    comm.Send(sum, rank ^ bit);
    receive->Wait();
    sum = sum + theirs;
  }
  if (rank + core < ranks) comm.Send(sum, rank + core);
  return sum;
}

}  // namespace shardlab
