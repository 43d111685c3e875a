#include "shardlab/spatial/tile_window.hpp"

// TASK spatial.slices: WithHalo, WithPadding
//
//  * What a window reads lies in three places: on this rank, on a neighbour, and nowhere. Which function looks after
//    which?
//  * When does a tile need padding on its right? Think of a tile in the middle of the image.
//  * All ranks have to decide alike whether they exchange. What do they all know?

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/spatial/halo_exchange.hpp"
#include "shardlab/spatial/window.hpp"

namespace shardlab {

TiledImage WithHalo(const TiledImage& x, const Tiling& needed, std::shared_ptr<Communicator> comm) {
  (void)x, (void)needed, (void)comm;
  throw NotImplemented("spatial.slices: WithHalo (exercises/spatial/tile_window.cpp)");
}

at::Tensor WithPadding(const at::Tensor& x, const Box& held, int64_t height, int64_t width, const ImageWindow& window,
                       const Box& outputs, double padding) {
  (void)x, (void)held, (void)height, (void)width, (void)window, (void)outputs, (void)padding;
  throw NotImplemented("spatial.slices: WithPadding (exercises/spatial/tile_window.cpp)");
}

}  // namespace shardlab
