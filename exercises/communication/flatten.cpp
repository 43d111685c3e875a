#include "shardlab/communication/flatten.hpp"

// TASK communication.autograd: Flatten and Unflatten
//
// Pack many tensors one behind the other into one, and unpack them again, with all OpenMP threads at work.
//
//     tensors    | t0 | t1 |        t2        | t3 |
//     flat       |====.====.==================.====|
//
//  * Where does each tensor begin in `flat`? Know it before the threads start: an `offset += n` that threads share is a
//    race, and a race is right most of the time.
//  * Divide the work so that one large tensor among many small ones still keeps all threads busy.
//  * Tensors may be non-contiguous, or have no element. The copying is of bytes: std::memcpy, and element_size().
//  * An exception must not leave a parallel region.

#include <ATen/ATen.h>
#include <omp.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"

namespace shardlab {

at::Tensor Flatten(const std::vector<at::Tensor>& tensors) {
  (void)tensors;
  throw NotImplemented("communication.autograd: Flatten (exercises/communication/flatten.cpp)");
}

void Unflatten(const at::Tensor& flat, const std::vector<at::Tensor>& into) {
  (void)flat, (void)into;
  throw NotImplemented("communication.autograd: Unflatten (exercises/communication/flatten.cpp)");
}

}  // namespace shardlab
