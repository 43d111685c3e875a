#include "shardlab/spatial/pooling.hpp"

// TASK spatial.gradients: TiledMaxPool2d, TiledAveragePool2d
//
//  * What may stand for a pixel outside of the image when the largest one is asked for, and all pixels are negative?
//  * By how much is the average at the corner of the image divided? And at the corner of a tile? Try
//    count_include_pad and ceil_mode on one line of five pixels, by hand.
//  * Counts along the two sides do not know of each other.

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/spatial/tile_window.hpp"
#include "shardlab/spatial/window.hpp"

namespace shardlab {

at::Tensor TiledMaxPool2d(const TiledImage& x, const ImageWindow& window, const Tiling& outputs,
                          std::shared_ptr<Communicator> comm) {
  (void)x, (void)window, (void)outputs, (void)comm;
  throw NotImplemented("spatial.gradients: TiledMaxPool2d (exercises/spatial/pooling.cpp)");
}

at::Tensor TiledAveragePool2d(const TiledImage& x, const ImageWindow& window, bool count_include_pad, int64_t divisor,
                              const Tiling& outputs, std::shared_ptr<Communicator> comm) {
  (void)x, (void)window, (void)count_include_pad, (void)divisor, (void)outputs, (void)comm;
  throw NotImplemented("spatial.gradients: TiledAveragePool2d (exercises/spatial/pooling.cpp)");
}

}  // namespace shardlab
