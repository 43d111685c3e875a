#include "shardlab/spatial/two_rounds.hpp"

#include <vector>

#include "shardlab/base/errors.hpp"
#include "shardlab/spatial/halo_exchange.hpp"

namespace shardlab {

namespace {

// The boxes of a tiling, its rows or its columns moved `apart` for each row or column of the grid.
Distribution Moved(const std::vector<Range>& rows, const std::vector<Range>& columns, int64_t apart_rows,
                   int64_t apart_columns) {
  Distribution boxes;
  for (size_t r = 0; r < rows.size(); ++r) {
    for (size_t c = 0; c < columns.size(); ++c) {
      const int64_t down = apart_rows * static_cast<int64_t>(r), right = apart_columns * static_cast<int64_t>(c);
      boxes.push_back(
          Box{{{rows[r].begin + down, rows[r].end + down}, {columns[c].begin + right, columns[c].end + right}}});
    }
  }
  return boxes;
}

}  // namespace

at::Tensor ExchangeInTwoRounds(const at::Tensor& x, const Tiling& from, const Tiling& to,
                               std::shared_ptr<Communicator> comm) {
  const bool one_grid = from.rows.size() == to.rows.size() && from.columns.size() == to.columns.size();
  if (!one_grid || from.size() != comm->size()) throw ContractError("the tilings are not of one grid for these ranks");
  const int64_t far = 2 * (to.height() + to.width() + 1);
  const at::Tensor half =
      ExchangePixels(x, Moved(from.rows, from.columns, far, 0), Moved(from.rows, to.columns, far, 0), comm);
  return ExchangePixels(half, Moved(from.rows, to.columns, 0, far), Moved(to.rows, to.columns, 0, far), comm);
}

}  // namespace shardlab
