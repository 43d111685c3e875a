#include "shardlab/communication/ring_reduce_scatter.hpp"

// TASK communication.ring: RingReduceScatter
//
// Add the tensors of all ranks up; every rank keeps its own share of the sum's rows, SplitRange(rows, T, rank). Part c
// sets out from rank c + 1, every rank that it passes adds its own part c, and it comes home to rank c complete.
//
//     rank 1            rank 2                rank 3                    rank 0           part 0's journey, T = 4
//      a1  --round 0-->  a1+a2  --round 1-->  a1+a2+a3  --round 2-->  a1+a2+a3+a0
//
// All T parts travel at once. Which part does rank r send in round 0? Which one arrives in round k, and what is sent in
// round k + 1?
//
//  * `input` stays as it is: add into a copy of what travels, not into `input`.
//  * A tensor that is on its way (between ISend and its Wait) must not change.
//  * SplitSizes and SplitRange (shardlab/base/split.hpp) give the first parts one row more where T does not divide.
//    LibTorch's chunk() divides differently.

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"

namespace shardlab {

at::Tensor RingReduceScatter(Communicator& comm, const at::Tensor& input) {
  (void)comm, (void)input;
  throw NotImplemented("communication.ring: RingReduceScatter (exercises/communication/ring_reduce_scatter.cpp)");
}

}  // namespace shardlab
