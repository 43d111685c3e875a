#include "shardlab/communication/operators.hpp"

// TASK communication.autograd: CopyOperator, ReduceOperator, ScatterOperator, GatherOperator, SendReceiveOperator
//
// The contract is the header above, the table of section 5 of the handout says which is whose partner. Each is a pair
// of functions, at::Tensor (const at::Tensor&), and may use the communicator's own collectives:
//
//     return {"Copy", forward, backward};
//
// Before you write:
//
//  * A lambda outlives this call. What does it have to hold by value?
//  * Forward returns a new tensor, also where it is the identity, and a collective works in place: on whose tensor?
//  * With T = 3 and size 7, what does each rank hand to an all-gather along dimension 1?
//  * Autograd leaves a backward out where the input needs no gradient. For which of these do other ranks then wait?
//    (The fourth entry of ConjugateOp, `always`, is for them: shardlab/autograd/conjugate_op.hpp.)

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
