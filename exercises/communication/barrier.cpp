#include "shardlab/communication/barrier.hpp"

// TASK communication.alltoall: Barrier
//
// Return on no rank before every rank has called it, in ceil(log2 T) rounds and without a rank that is special. In
// round k every rank tells rank + 2^k that it is here, and hears the same from rank - 2^k.
//
//     whom rank 0 has heard of, T = 5
//     at first    0
//     round 0     0 4                 from rank 4
//     round 1     0 4 3 2             from rank 3, who had heard of 2
//     round 2     0 4 3 2 1           from rank 1
//
//  * What is in a message does not matter, only that it came: one byte will do.
//  * Why must round k's message have come before round k + 1's is sent?

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

void Barrier(Communicator& comm) {
  (void)comm;
  throw NotImplemented("communication.alltoall: Barrier (exercises/communication/barrier.cpp)");
}

}  // namespace shardlab
