#include "shardlab/spatial/two_rounds.hpp"

#include <vector>

#include <fmt/format.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/spatial/halo_exchange.hpp"

// Corners by way of the neighbours
// ================================
// The corner that rank 0 needs of rank 3 lies beside the rows that it needs of rank 2, and rank 2 gets it in the first round:
//
//          before                 after round 1 (columns)          after round 2 (rows)
//
//     +----+----+               +------+   +------+               +------+
//     | 0  | 1  |               | 0   1|   |0   1 |               | 0   1|     rank 0 now has a column of 1,
//     +----+----+               +------+   +------+               | 0   1|     a row of 2, and the corner of 3,
//     | 2  | 3  |               +------+   +------+               | 2   3|     which came with the row of 2
//     +----+----+               | 2   3|   |2   3 |               +------+
//                               +------+   +------+
//
// A round is an exchange as any other: what lies between is a tiling with the old rows and the new columns. So the backward
// is there already, and goes through the rounds in the other order.
//
// In round 2 tiles of two columns of the grid hold the same pixels, and the nearest owner of some may be a diagonal
// neighbour. So that each talks to its own column, the columns are given places apart from one another, as if they were images
// of their own; likewise the rows in round 1.

namespace shardlab {

namespace {

// The ranges, none of which meets another.
std::vector<Range> Apart(std::vector<Range> ranges) {
  int64_t place = 0;
  for (Range& range : ranges) {
    range = {place, place + range.size()};
    place = range.end;
  }
  return ranges;
}

}  // namespace

at::Tensor ExchangeInTwoRounds(const at::Tensor& x, const Tiling& from, const Tiling& to,
                               std::shared_ptr<Communicator> comm) {
  if (from.rows.size() != to.rows.size() || from.columns.size() != to.columns.size() || from.size() != comm->size()) {
    throw ContractError(fmt::format("two rounds go between tilings of one grid with {} tiles: {}x{} and {}x{} are not",
                                    comm->size(), from.rows.size(), from.columns.size(), to.rows.size(),
                                    to.columns.size()));
  }
  const std::vector<Range> rows = Apart(from.rows), columns = Apart(to.columns);
  const at::Tensor wide = ExchangePixels(x, Tiling{rows, from.columns}.Boxes(), Tiling{rows, to.columns}.Boxes(), comm);
  return ExchangePixels(wide, Tiling{from.rows, columns}.Boxes(), Tiling{to.rows, columns}.Boxes(), comm);
}

}  // namespace shardlab
