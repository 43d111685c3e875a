#include "shardlab/communication/ring_all_reduce.hpp"

#include <ATen/ATen.h>

#include <algorithm>

namespace shardlab {

// After the first trip rank r has the sum of chunk r + 1, not of chunk r; the second trip begins there.
at::Tensor RingAllReduce(Communicator& comm, const at::Tensor& input) {
  const int ranks = comm.size(), rank = comm.rank();
  const int64_t elements = input.numel();
  at::Tensor sum = input.clone(at::MemoryFormat::Contiguous);
  const at::Tensor flat = sum.view(-1);
  const auto chunk = [&](int c) {
    c = ((c % ranks) + ranks) % ranks;
    const int64_t begin = elements / ranks * c + std::min<int64_t>(c, elements % ranks);
    return flat.narrow(0, begin, elements / ranks + (c < elements % ranks ? 1 : 0));
  };
  for (int round = 0; round < 2 * (ranks - 1); ++round) {
    const bool adding = round < ranks - 1;
    const at::Tensor target = chunk(rank - round - 1);
    const at::Tensor arrived = adding ? at::empty_like(target) : target;
    auto receive = comm.IRecv(arrived, (rank + ranks - 1) % ranks);
    comm.Send(chunk(rank - round), (rank + 1) % ranks);
    receive->Wait();
    if (adding) target.add_(arrived);
  }
  return sum;
}

}  // namespace shardlab
