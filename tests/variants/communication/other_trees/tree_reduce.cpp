#include "shardlab/communication/tree_reduce.hpp"

#include <ATen/ATen.h>

namespace shardlab {
namespace {

/// Leaves the sum over the numbers [first, last) on `first`.
void Reduce(Communicator& comm, at::Tensor& sum, int root, int number, int first, int last) {
  if (last - first < 2) return;
  const int ranks = comm.size(), middle = first + (last - first + 1) / 2;
  if (number < middle) {
    Reduce(comm, sum, root, number, first, middle);
  } else {
    Reduce(comm, sum, root, number, middle, last);
  }
  if (number == middle) comm.Send(sum, (first + root) % ranks);
  if (number == first) {
    const at::Tensor theirs = at::zeros_like(sum);
    comm.Recv(theirs, (middle + root) % ranks);
    sum = sum + theirs;
  }
}

}  // namespace

at::Tensor TreeReduce(Communicator& comm, const at::Tensor& value, int root) {
  const int number = (comm.rank() - root + comm.size()) % comm.size();
  at::Tensor sum = value.clone(at::MemoryFormat::Contiguous);
  Reduce(comm, sum, root, number, 0, comm.size());
  return comm.rank() == root ? sum : at::Tensor();
}

}  // namespace shardlab
