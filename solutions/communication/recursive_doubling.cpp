#include "shardlab/communication/recursive_doubling.hpp"

// The all-reduce by recursive doubling
// ====================================
// Partners whose numbers differ in one bit swap their sums; after each round a sum covers twice as many ranks. Where T
// is no power of two, P is the largest one below it. T = 6, P = 4:
//
//     fold in    4 --> 0    5 --> 1                     (1) an extra rank gives its tensor to rank - P, and waits
//     bit 0      0 <-> 1    2 <-> 3                     (2) partner: rank XOR 1
//     bit 1      0 <-> 2    1 <-> 3                         partner: rank XOR 2
//     fold out   0 --> 4    1 --> 5                     (3) the extra rank is given the result
//
//     (4)  Both partners add the same two numbers, and a + b = b + a in floating point too: by induction all sums have
//          the same bits. (a + b) + c = a + (b + c) does not hold; it is not needed.

#include <ATen/ATen.h>

namespace shardlab {

at::Tensor RecursiveDoublingAllReduce(Communicator& comm, const at::Tensor& input) {
  const int ranks = comm.size(), rank = comm.rank();
  int core = 1;  // P
  while (core * 2 <= ranks) core *= 2;

  at::Tensor sum = input.clone(at::MemoryFormat::Contiguous);
  if (rank >= core) {
    comm.Send(sum, rank - core);  // (1)
    comm.Recv(sum, rank - core);  // (3)
    return sum;
  }

  const int extra = rank + core < ranks ? rank + core : -1;
  at::Tensor arrived = at::empty_like(sum);
  if (extra >= 0) {
    comm.Recv(arrived, extra);  // (1)
    sum.add_(arrived);
  }
  for (int bit = 1; bit < core; bit *= 2) {  // (2)
    auto send = comm.ISend(sum, rank ^ bit);
    comm.Recv(arrived, rank ^ bit);
    send->Wait();       // sum is on its way until here, and must not change
    sum.add_(arrived);  // (4)
  }
  if (extra >= 0) comm.Send(sum, extra);  // (3)
  return sum;
}

}  // namespace shardlab
