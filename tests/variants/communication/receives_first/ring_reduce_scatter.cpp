#include "shardlab/communication/ring_reduce_scatter.hpp"

#include <ATen/ATen.h>

namespace shardlab {

at::Tensor RingReduceScatter(Communicator& comm, const at::Tensor& input) {
  const int ranks = comm.size(), rank = comm.rank();
  const int64_t rows = input.size(0), few = rows / ranks, longer = rows % ranks;
  const auto begin = [&](int part) { return part * few + std::min<int64_t>(part, longer); };
  at::Tensor sum = input.clone(at::MemoryFormat::Contiguous);  // of which part after part becomes a sum
  const auto view = [&](int part) { return sum.slice(0, begin(part), begin(part + 1)); };

  for (int round = ranks - 1; round >= 1; --round) {
    const int leaving = (rank + round) % ranks, coming = (rank + round - 1) % ranks;
    const at::Tensor arrived = at::empty_like(view(coming));
    auto receive = comm.IRecv(arrived, (rank + ranks - 1) % ranks);
    comm.Send(view(leaving), (rank + 1) % ranks);
    receive->Wait();
    view(coming) += arrived;
  }
  return view(rank).clone();
}

}  // namespace shardlab
