#include "shardlab/communication/ring_reduce_scatter.hpp"

#include <ATen/ATen.h>

#include "shardlab/base/split.hpp"

namespace shardlab {

at::Tensor RingReduceScatter(Communicator& comm, const at::Tensor& input) {
  const int ranks = comm.size(), rank = comm.rank();
  const auto part = [&](int c) {
    const Range range = SplitRange(input.size(0), ranks, (c + 2 * ranks) % ranks);
    return input.narrow(0, range.begin, range.size());
  };
  std::vector<at::Tensor> journey = {part(rank - 1).clone(at::MemoryFormat::Contiguous)};  // what this rank sent
  std::vector<std::unique_ptr<Work>> sends;
  for (int c = rank - 2; c > rank - 1 - ranks; --c) {
    sends.push_back(comm.ISend(journey.back(), (rank + 1) % ranks));
    const at::Tensor arriving = at::empty(part(c).sizes(), input.options());
    comm.IRecv(arriving, (rank + ranks - 1) % ranks)->Wait();
    journey.push_back(arriving + part(c));
  }
  for (auto& send : sends) send->Wait();
  return journey.back();
}

}  // namespace shardlab
