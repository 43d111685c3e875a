#include "shardlab/pipeline/balance.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "shardlab/base/errors.hpp"

// The last part of a best cut into p parts begins somewhere, at layer k; what lies before k is then a best cut of these
// k layers into p-1 parts. So a table of the best cuts of every beginning of the model into 1, 2, ... parts is filled
// from what it already holds:
//
//     layers   0 1 2 ... k-1 | k ... n-1
//              p-1 parts     | 1 part          best(p, n) = min over k of Join(best(p-1, k), cost(k .. n-1))
//
// (1) with Join = max, the smallest possible largest part; (2) with Join = sum of squares over the cuts that keep to
// this limit, the most even of the best.

namespace shardlab {

namespace {

constexpr double kNone = std::numeric_limits<double>::infinity();

struct Entry {
  double value = kNone;
  int begin = 0;  // of the last part
};

// table[p][n]: the best cut of the first n layers into p parts, of which none costs more than `limit`.
template <typename Join>
std::vector<std::vector<Entry>> Fill(const std::vector<double>& costs, int parts, double limit, Join join) {
  const int layers = static_cast<int>(costs.size());
  std::vector<std::vector<Entry>> table(parts + 1, std::vector<Entry>(layers + 1));
  table[0][0].value = 0;
  for (int p = 1; p <= parts; ++p) {
    for (int n = p; n <= layers - (parts - p); ++n) {
      double last = 0;  // the cost of layers k .. n-1
      for (int k = n - 1; k >= p - 1; --k) {
        last += costs[k];
        if (last > limit) break;
        const double value = join(table[p - 1][k].value, last);
        if (value < table[p][n].value) table[p][n] = {value, k};
      }
    }
  }
  return table;
}

}  // namespace

std::vector<int> Balance(const std::vector<double>& costs, int parts) {
  const int layers = static_cast<int>(costs.size());
  if (parts < 1 || parts > layers) {
    throw ContractError(
        fmt::format("{} layers cannot be cut into {} parts, none of them empty: use 1 to {}", layers, parts, layers));
  }
  for (const double cost : costs) {
    if (!(cost >= 0 && std::isfinite(cost))) {
      throw ContractError(fmt::format("the cost of a layer is a finite number of at least 0, not {}", cost));
    }
  }
  const auto largest = [](double before, double last) { return std::max(before, last); };
  const double limit = Fill(costs, parts, kNone, largest)[parts][layers].value;  // (1)
  // Squares of shares, so that neither nanoseconds nor gigabytes leave the range of numbers.
  const double unit = limit > 0 ? limit : 1;
  const auto squares = [unit](double before, double last) { return before + (last / unit) * (last / unit); };
  const auto table = Fill(costs, parts, limit, squares);  // (2)

  std::vector<int> sizes(parts);
  int end = layers;
  for (int p = parts; p > 0; --p) {
    const int begin = table[p][end].begin;
    sizes[p - 1] = end - begin;
    end = begin;
  }
  return sizes;
}

}  // namespace shardlab
