#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "shardlab/layers/tiled_image.hpp"
#include "shardlab/pipeline/link.hpp"

/// \file
/// Who holds the places of a pipeline. A schedule speaks of positions; a position is held by one rank, or by several that
/// do its work together, each on its tile of every image:
///
///     layout of 3 positions        position 0       1      2
///
///     ranks 0 to 5                 0 1 2 3          4      5          stage 0 on 2x2 tiles
///
/// All ranks of a position work off the same list. Between two positions of one rank each there is one link. Behind tiles
/// the later rank has a link to each of them, and puts together what comes (a JoinMaker).

namespace shardlab {

/// The ranks of each position of a layout, in the order of their tiles.
struct Positions {
  std::vector<std::vector<int>> ranks;  ///< by position

  /// The position that a rank is in. \throws ContractError when it is in none.
  int Of(int rank) const;
  /// How many ranks there are in all positions together.
  int size() const;
};

/// One rank for each of n positions.
Positions OneRankEach(int n);

/// The first `tiled` positions have `tiles` ranks each, the others one: the ranks of position 0's tiles first, then those of
/// position 1's, ..., then the others.
/// \throws ContractError unless 0 <= tiled <= positions and tiles >= 1.
Positions TiledPositions(int positions, int tiled, int tiles);

/// How the tensors between two layers lie on the ranks of a position that has tiles: no rows for one that is whole on all.
using BoundaryTilings = std::vector<Tiling>;

/// Makes the later rank's end of a link from tiles out of links to each of the tiles' ranks, in their order.
/// \param tilings of the tensors that travel.
using JoinMaker =
    std::function<std::unique_ptr<Link>(std::vector<std::unique_ptr<Link>> tiles, const BoundaryTilings& tilings)>;

/// Where positions have several ranks: who they are, and how tensors come from tiles to one rank.
struct TiledStages {
  Positions positions;       ///< of the layout
  JoinMaker join = nullptr;  ///< needed where a position of tiles is followed by one of a single rank
  TilePlan plan;             ///< of the layers on tiles, as PlanTiles gives it: those of the first stages
};

}  // namespace shardlab
