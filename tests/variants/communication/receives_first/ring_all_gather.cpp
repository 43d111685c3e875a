#include "shardlab/communication/ring_all_gather.hpp"

#include <ATen/ATen.h>

namespace shardlab {

at::Tensor RingAllGather(Communicator& comm, const at::Tensor& mine, const std::vector<int64_t>& rows) {
  const int ranks = comm.size();
  std::vector<int64_t> begins(1, 0);
  for (int64_t count : rows) begins.push_back(begins.back() + count);
  std::vector<int64_t> shape = mine.sizes().vec();
  shape[0] = begins.back();
  at::Tensor result = mine.new_empty(shape);
  result.slice(0, begins[comm.rank()], begins[comm.rank() + 1]).copy_(mine);

  int part = comm.rank();
  for (int round = 1; round < ranks; ++round) {
    const int next = part == 0 ? ranks - 1 : part - 1;  // the part that the left neighbour passes on
    auto receive =
        comm.IRecv(result.slice(0, begins[next], begins[next + 1]), comm.rank() == 0 ? ranks - 1 : comm.rank() - 1);
    comm.Send(result.slice(0, begins[part], begins[part + 1]), comm.rank() == ranks - 1 ? 0 : comm.rank() + 1);
    receive->Wait();
    part = next;
  }
  return result;
}

}  // namespace shardlab
