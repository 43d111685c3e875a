#include "shardlab/communication/tree_reduce.hpp"

#include <ATen/ATen.h>

namespace shardlab {

// All of a rank's receives are posted before the first child's sum is needed.
at::Tensor TreeReduce(Communicator& comm, const at::Tensor& value, int root) {
  const int ranks = comm.size();
  const int number = (comm.rank() + ranks - root) % ranks;
  std::vector<at::Tensor> theirs;
  std::vector<std::unique_ptr<Work>> receives;
  int bit = 1;
  for (; bit < ranks && (number & bit) == 0; bit *= 2) {
    if (number + bit >= ranks) continue;
    theirs.push_back(at::empty(value.sizes(), value.options()));
    receives.push_back(comm.IRecv(theirs.back(), (number + bit + root) % ranks));
  }
  at::Tensor sum = value.clone(at::MemoryFormat::Contiguous);
  for (size_t i = 0; i < theirs.size(); ++i) {
    receives[i]->Wait();
    sum.add_(theirs[i]);
  }
  if (number == 0) return sum;
  comm.ISend(sum, (number - bit + root) % ranks)->Wait();
  return at::Tensor();
}

}  // namespace shardlab
