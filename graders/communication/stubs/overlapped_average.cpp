#include "shardlab/communication/overlapped_average.hpp"

// TASK communication.overlap: MakeOverlappedAverage
//
// Average gradients while backward is still at work on the rest of them.
//
//     backward     | layer 3 | layer 2 | layer 1 | layer 0 |            Finish
//     link                   |  bucket 0  |      |  bucket 1  |         | wait, divide, unpack
//
// Derive a class from OverlappedAverage that
//  * in its constructor puts the parameters into buckets (your AssignBuckets) and asks to be told of every gradient:
//    OnGradientReady(parameter, function) calls the function when backward has completed that gradient, for as long
//    as the hook that it returned is alive;
//  * starts a bucket's all-reduce (your Flatten, then IAllReduce) when all its gradients are there;
//  * in Finish waits for all of them, divides, and unpacks.
//
// Consider:
//  * All-reduces are matched by their order. Gradients may become ready in another order on another rank: when may
//    bucket 2 leave, if bucket 1 has not?
//  * A parameter that took no part in this rank's loss: its bucket never becomes complete, and the others wait for it.
//  * Begin(false): gradients only accumulate, and nothing is sent.
//  * A flattened bucket is left alone until its Wait, and so is what it was flattened from? (It is a copy.)

#include <ATen/ATen.h>

#include "shardlab/autograd/on_gradient_ready.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/communication/buckets.hpp"
#include "shardlab/communication/flatten.hpp"

namespace shardlab {

std::unique_ptr<OverlappedAverage> MakeOverlappedAverage(std::shared_ptr<Communicator> comm,
                                                         std::vector<at::Tensor> parameters, int64_t bucket_bytes) {
  (void)comm, (void)parameters, (void)bucket_bytes;
  throw NotImplemented("communication.overlap: MakeOverlappedAverage (exercises/communication/overlapped_average.cpp)");
}

}  // namespace shardlab
