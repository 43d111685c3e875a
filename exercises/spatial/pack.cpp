#include "shardlab/spatial/pack.hpp"

// TASK spatial.gradients: PackPixels, AddPackedPixels
//
//  * A box of an image is many short runs of neighbouring pixels. Where does run number r begin in the message? If
//    you can say that, any thread can copy any run.
//  * Two boxes may share a pixel. Which of the two loops may threads divide when they add, and which not?
//  * x may have any strides: a tile is often a view.

#include <ATen/ATen.h>
#include <ATen/Dispatch.h>
#include <omp.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

at::Tensor PackPixels(const at::Tensor& x, const std::vector<Box>& boxes) {
  (void)x, (void)boxes;
  throw NotImplemented("spatial.gradients: PackPixels (exercises/spatial/pack.cpp)");
}

void AddPackedPixels(const at::Tensor& packed, const std::vector<Box>& boxes, const at::Tensor& into) {
  (void)packed, (void)boxes, (void)into;
  throw NotImplemented("spatial.gradients: AddPackedPixels (exercises/spatial/pack.cpp)");
}

}  // namespace shardlab
