#include "shardlab/communication/all_to_all.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

#include "shardlab/base/errors.hpp"

namespace shardlab {

// Empty parts travel too, as messages without bytes, and the sends go out in the order of the ranks.
at::Tensor AllToAll(Communicator& comm, const at::Tensor& input, const std::vector<int64_t>& send_rows,
                    const std::vector<int64_t>& receive_rows) {
  const size_t ranks = static_cast<size_t>(comm.size());
  for (const auto* rows : {&send_rows, &receive_rows}) {
    if (rows->size() != ranks || std::any_of(rows->begin(), rows->end(), [](int64_t n) { return n < 0; })) {
      throw ContractError("one number of rows for each rank, none of them negative");
    }
  }
  if (std::accumulate(send_rows.begin(), send_rows.end(), int64_t{0}) != input.size(0)) {
    throw ContractError("the rows to send are not those of the input");
  }

  std::vector<at::Tensor> arriving(ranks);
  std::vector<std::unique_ptr<Work>> works;
  const int rank = comm.rank();
  for (int from = 0; from < comm.size(); ++from) {
    std::vector<int64_t> shape = input.sizes().vec();
    shape[0] = receive_rows[from];
    arriving[from] = at::empty(shape, input.options());
    if (from != rank) works.push_back(comm.IRecv(arriving[from], from));
  }
  std::vector<at::Tensor> leaving;
  int64_t begin = 0;
  for (int to = 0; to < comm.size(); ++to) {
    leaving.push_back(input.narrow(0, begin, send_rows[to]).contiguous());
    begin += send_rows[to];
    if (to != rank) works.push_back(comm.ISend(leaving.back(), to));
  }
  arriving[rank].copy_(leaving[rank]);
  while (!works.empty()) {
    works.back()->Wait();
    works.pop_back();
  }
  return at::cat(arriving);
}

}  // namespace shardlab
