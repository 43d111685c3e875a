#include "shardlab/communication/tree_broadcast.hpp"

#include <ATen/ATen.h>

namespace shardlab {

// The first rank of [first, last) has the tensor and gives it to the first of the upper half; then both halves do so.
at::Tensor TreeBroadcast(Communicator& comm, const at::Tensor& value, int root) {
  const int ranks = comm.size(), number = (comm.rank() - root + ranks) % ranks;
  at::Tensor tensor = value.clone(at::MemoryFormat::Contiguous);
  int first = 0, last = ranks;
  while (last - first > 1) {
    const int middle = first + (last - first + 1) / 2;
    if (number == first) comm.Send(tensor, (middle + root) % ranks);
    if (number == middle) comm.Recv(tensor, (first + root) % ranks);
    (number < middle ? last : first) = middle;
  }
  return tensor;
}

}  // namespace shardlab
