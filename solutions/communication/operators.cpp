#include "shardlab/communication/operators.hpp"

// The operators between ranks
// ===========================
//                      forward ->                                  <- backward
//
//     Copy        x  --------------->  x, on every rank       sum over ranks <--- a gradient from every rank
//     Reduce      sum over ranks <---  a summand a rank       g  --------------->  g, on every rank
//     Scatter     whole  ----------->  slice                  whole  <------------ slices
//     Gather      whole  <-----------  slices                 slice  ------------> its part of whole
//     Exchange    mine to `to`, another's from `from`         gradient to `from`, mine's from `to`
//
//     (1)  Read the table's rows in pairs: the backward of Copy is the forward of Reduce, and the other way round; so
//          are Scatter and Gather. Four functions make two pairs, used twice.
//     (2)  A collective works in place, on a tensor that is ours alone: the input is not, and forward returns a new
//          one.
//     (3)  Slices along any dimension: concatenating along it is all that differs.
//     (4)  An exchange is its own partner with `to` and `from` swapped.
//     (5)  always: where the backward communicates, it runs on every rank, also where the input needs no gradient.

#include <ATen/ATen.h>

#include "shardlab/base/split.hpp"

namespace shardlab {
namespace {

using CommunicatorPtr = std::shared_ptr<Communicator>;

at::Tensor Fresh(const at::Tensor& x) { return x.clone(at::MemoryFormat::Contiguous); }  // (2)

at::Tensor SumOverRanks(Communicator& comm, const at::Tensor& x) {
  const at::Tensor sum = Fresh(x);
  comm.AllReduce(sum);
  return sum;
}

at::Tensor MySlice(Communicator& comm, const at::Tensor& whole, int64_t dim, int64_t size) {
  const Range mine = SplitRange(size, comm.size(), comm.rank());
  return Fresh(whole.narrow(dim, mine.begin, mine.size()));
}

at::Tensor AllSlices(Communicator& comm, const at::Tensor& slice, int64_t dim, int64_t size) {
  std::vector<at::Tensor> slices;
  std::vector<int64_t> shape = slice.sizes().vec();
  for (int64_t part : SplitSizes(size, comm.size())) {
    shape[dim < 0 ? dim + slice.dim() : dim] = part;
    slices.push_back(at::empty(shape, slice.options()));
  }
  comm.AllGather(slices, slice.contiguous());
  return at::cat(slices, dim);  // (3)
}

at::Tensor Exchange(Communicator& comm, const at::Tensor& x, int to, int from) {
  const at::Tensor arriving = at::zeros(x.sizes(), x.options());
  const at::Tensor leaving = x.contiguous();
  std::unique_ptr<Work> receive;
  if (from >= 0) receive = comm.IRecv(arriving, from);
  if (to >= 0) comm.Send(leaving, to);
  if (receive) receive->Wait();
  return arriving;
}

}  // namespace

ConjugateOp CopyOperator(CommunicatorPtr comm) {
  return {"Copy", Fresh, [comm](const at::Tensor& g) { return SumOverRanks(*comm, g); }, /*always=*/true};  // (1) (5)
}

ConjugateOp ReduceOperator(CommunicatorPtr comm) {
  return {"Reduce", [comm](const at::Tensor& x) { return SumOverRanks(*comm, x); }, Fresh};
}

ConjugateOp ScatterOperator(CommunicatorPtr comm, int64_t dim, int64_t size) {
  return {"Scatter", [=](const at::Tensor& x) { return MySlice(*comm, x, dim, size); },
          [=](const at::Tensor& g) { return AllSlices(*comm, g, dim, size); }, /*always=*/true};
}

ConjugateOp GatherOperator(CommunicatorPtr comm, int64_t dim, int64_t size) {
  return {"Gather", [=](const at::Tensor& x) { return AllSlices(*comm, x, dim, size); },
          [=](const at::Tensor& g) { return MySlice(*comm, g, dim, size); }};
}

ConjugateOp SendReceiveOperator(CommunicatorPtr comm, int to, int from) {
  return {"SendReceive", [=](const at::Tensor& x) { return Exchange(*comm, x, to, from); },
          [=](const at::Tensor& g) { return Exchange(*comm, g, from, to); }, /*always=*/true};  // (4)
}

}  // namespace shardlab
