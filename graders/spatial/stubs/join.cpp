#include "shardlab/spatial/join.hpp"

// TASK spatial.train: MakeJoin
//
//  * To a tile this is a link to one rank, to the stage behind it a link from one rank. What is the only thing that happens
//    between?
//  * Which of Link's functions does the later end of a link have, and which of them need more than to be handed on to each
//    tile's link?
//  * A tensor that is whole on all tiles is used once. Whose gradient is it then?

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

std::unique_ptr<Link> MakeJoin(std::vector<std::unique_ptr<Link>> tiles, const BoundaryTilings& tilings) {
  (void)tiles, (void)tilings;
  throw NotImplemented("spatial.train: MakeJoin (exercises/spatial/join.cpp)");
}

}  // namespace shardlab
