#include "shardlab/communication/operators.hpp"

#include <ATen/ATen.h>

namespace shardlab {
namespace {

at::Tensor Identity(const at::Tensor& x) { return x + at::zeros_like(x); }

at::Tensor Sum(Communicator& comm, const at::Tensor& x) {
  const at::Tensor sum = at::zeros(x.sizes(), x.options()) + x;
  comm.IAllReduce(sum)->Wait();
  return sum;
}

struct Cut {
  std::shared_ptr<Communicator> comm;
  int64_t dim, size;

  int64_t Begin(int rank) const {
    const int64_t few = size / comm->size(), longer = size % comm->size();
    return rank * few + (rank < longer ? rank : longer);
  }
  at::Tensor Mine(const at::Tensor& whole) const {
    return whole.slice(dim, Begin(comm->rank()), Begin(comm->rank() + 1)).clone();
  }
  // With the dimension first every slice is contiguous in the result.
  at::Tensor All(const at::Tensor& mine) const {
    const at::Tensor first = mine.movedim(dim, 0).contiguous();
    std::vector<int64_t> shape = first.sizes().vec();
    shape[0] = size;
    const at::Tensor whole = at::empty(shape, mine.options());
    std::vector<at::Tensor> slices;
    for (int rank = 0; rank < comm->size(); ++rank) slices.push_back(whole.slice(0, Begin(rank), Begin(rank + 1)));
    comm->AllGather(slices, first);
    return whole.movedim(0, dim).contiguous();
  }
};

// Sends first, without waiting.
at::Tensor Shift(Communicator& comm, const at::Tensor& x, int to, int from) {
  const at::Tensor mine = x.contiguous();
  std::unique_ptr<Work> send;
  if (to >= 0) send = comm.ISend(mine, to);
  at::Tensor theirs = at::zeros(x.sizes(), x.options());
  if (from >= 0) comm.Recv(theirs, from);
  if (send) send->Wait();
  return theirs;
}

}  // namespace

ConjugateOp CopyOperator(std::shared_ptr<Communicator> comm) {
  ConjugateOp op;
  op.name = "Copy";
  op.forward = Identity;
  op.backward = [comm](const at::Tensor& g) { return Sum(*comm, g); };
  op.always = true;
  return op;
}

ConjugateOp ReduceOperator(std::shared_ptr<Communicator> comm) {
  ConjugateOp op = CopyOperator(comm);
  std::swap(op.forward, op.backward);
  op.name = "Reduce";
  op.always = false;
  return op;
}

ConjugateOp ScatterOperator(std::shared_ptr<Communicator> comm, int64_t dim, int64_t size) {
  const Cut cut{std::move(comm), dim, size};
  return {"Scatter", [cut](const at::Tensor& x) { return cut.Mine(x); },
          [cut](const at::Tensor& g) { return cut.All(g); }, true};
}

ConjugateOp GatherOperator(std::shared_ptr<Communicator> comm, int64_t dim, int64_t size) {
  ConjugateOp op = ScatterOperator(std::move(comm), dim, size);
  std::swap(op.forward, op.backward);
  op.name = "Gather";
  return op;  // its backward may run on every rank too, although it need not
}

ConjugateOp SendReceiveOperator(std::shared_ptr<Communicator> comm, int to, int from) {
  return {"SendReceive", [=](const at::Tensor& x) { return Shift(*comm, x, to, from); },
          [=](const at::Tensor& g) { return Shift(*comm, g, from, to); }, true};
}

}  // namespace shardlab
