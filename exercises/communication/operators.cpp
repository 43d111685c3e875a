#include "shardlab/communication/operators.hpp"

// TASK communication.autograd: the operators between ranks
//
// Write each of them as a pair of plain functions,
//
//     return {"Copy", forward, backward};      each: at::Tensor (const at::Tensor&)
//
// of which the framework makes a node of the autograd graph:
//
//     operator       forward                          backward
//     Copy           identity                         all-reduce
//     Reduce         all-reduce                       identity
//     Scatter        this rank's slice                all-gather of the slices
//     Gather         all-gather of the slices         this rank's slice
//     SendReceive    mine to `to`, another's          the gradient to `from`, that of mine
//                    from `from`                      from `to`
//
// The communicator's own collectives are yours here: AllReduce, AllGather.
//
//  * A lambda outlives this call: it holds `comm` by value ([comm], [=]), and takes *comm when it runs.
//  * Forward returns a new tensor, also where it is the identity, and a collective works in place: whose tensor is it?
//  * Slices along any dimension, and of different sizes where T does not divide (SplitRange, SplitSizes).
//  * Autograd leaves a backward out where the input needs no gradient, and then the other ranks wait for this one's
//    part. For a backward that communicates there is a fourth entry: {"Copy", forward, backward, true}. See
//    ConjugateOp::always (shardlab/autograd/conjugate_op.hpp).

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"

namespace shardlab {

ConjugateOp CopyOperator(std::shared_ptr<Communicator> comm) {
  (void)comm;
  throw NotImplemented("communication.autograd: CopyOperator (exercises/communication/operators.cpp)");
}

ConjugateOp ReduceOperator(std::shared_ptr<Communicator> comm) {
  (void)comm;
  throw NotImplemented("communication.autograd: ReduceOperator (exercises/communication/operators.cpp)");
}

ConjugateOp ScatterOperator(std::shared_ptr<Communicator> comm, int64_t dim, int64_t size) {
  (void)comm, (void)dim, (void)size;
  throw NotImplemented("communication.autograd: ScatterOperator (exercises/communication/operators.cpp)");
}

ConjugateOp GatherOperator(std::shared_ptr<Communicator> comm, int64_t dim, int64_t size) {
  (void)comm, (void)dim, (void)size;
  throw NotImplemented("communication.autograd: GatherOperator (exercises/communication/operators.cpp)");
}

ConjugateOp SendReceiveOperator(std::shared_ptr<Communicator> comm, int to, int from) {
  (void)comm, (void)to, (void)from;
  throw NotImplemented("communication.autograd: SendReceiveOperator (exercises/communication/operators.cpp)");
}

}  // namespace shardlab
