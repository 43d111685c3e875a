#include "shardlab/pipeline/positions.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

int Positions::Of(int rank) const {
  for (size_t position = 0; position < ranks.size(); ++position) {
    const auto& here = ranks[position];
    if (std::find(here.begin(), here.end(), rank) != here.end()) return static_cast<int>(position);
  }
  throw ContractError(fmt::format("rank {} is in none of the {} positions", rank, ranks.size()));
}

int Positions::size() const {
  int all = 0;
  for (const auto& here : ranks) all += static_cast<int>(here.size());
  return all;
}

Positions OneRankEach(int n) { return TiledPositions(n, 0, 1); }

Positions TiledPositions(int positions, int tiled, int tiles) {
  if (tiled < 0 || tiled > positions || tiles < 1) {
    throw ContractError(fmt::format("{} of {} positions cannot have {} tiles each", tiled, positions, tiles));
  }
  Positions all;
  int rank = 0;
  for (int position = 0; position < positions; ++position) {
    all.ranks.emplace_back();
    for (int i = 0; i < (position < tiled ? tiles : 1); ++i) all.ranks.back().push_back(rank++);
  }
  return all;
}

}  // namespace shardlab
