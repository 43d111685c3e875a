#include "shardlab/spatial/tile_ops.hpp"

// TASK spatial.train: MakeTileOps
//
//  * A model that knows nothing of tiles calls at::conv2d, at::max_pool2d, x.mean({2, 3}). Which of your functions stands
//    for each? You need a class with one line a function.
//  * Which two of TileOps' functions need no message?

#include "shardlab/base/errors.hpp"
#include "shardlab/spatial/conv.hpp"
#include "shardlab/spatial/halo_exchange.hpp"
#include "shardlab/spatial/moments.hpp"
#include "shardlab/spatial/pooling.hpp"
#include "shardlab/spatial/window.hpp"

namespace shardlab {

std::shared_ptr<TileOps> MakeTileOps(std::shared_ptr<Communicator> comm) {
  (void)comm;
  throw NotImplemented("spatial.train: MakeTileOps (exercises/spatial/tile_ops.cpp)");
}

}  // namespace shardlab
