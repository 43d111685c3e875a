#include <algorithm>
#include <cstdint>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "shardlab/grade/plain_referee.hpp"

// Part skips: where to cut.

namespace shardlab::grade {
namespace {

// All cuts into parts, the smallest largest part.
double BestLargest(const std::vector<double>& costs, int parts) {
  const std::function<double(size_t, int)> best = [&](size_t begin, int left) -> double {
    if (left == 1) return std::accumulate(costs.begin() + static_cast<std::ptrdiff_t>(begin), costs.end(), 0.0);
    double smallest = 1e300, first = 0;
    for (size_t end = begin + 1; end + static_cast<size_t>(left) - 1 <= costs.size(); ++end) {
      first += costs[end - 1];
      smallest = std::min(smallest, std::max(first, best(end, left - 1)));
    }
    return smallest;
  };
  return best(0, parts);
}

// All cuts into parts none of which costs more than `largest`: the smallest sum of squares.
double BestSquares(const std::vector<double>& costs, int parts, double largest) {
  const std::function<double(size_t, int)> best = [&](size_t begin, int left) -> double {
    if (begin + static_cast<size_t>(left) > costs.size()) return 1e300;
    if (left == 0) return begin == costs.size() ? 0 : 1e300;
    double smallest = 1e300, part = 0;
    for (size_t end = begin + 1; end <= costs.size(); ++end) {
      part += costs[end - 1];
      if (part <= largest) smallest = std::min(smallest, part * part + best(end, left - 1));
    }
    return smallest;
  };
  return best(0, parts);
}

struct AskedBalance {
  std::vector<double> costs;
  int parts;
};

std::vector<std::vector<int64_t>> AskBalances(PlainCase& t, const std::vector<AskedBalance>& asked) {
  nlohmann::json params;
  for (const AskedBalance& one : asked) params["asked"].push_back({{"costs", one.costs}, {"parts", one.parts}});
  const PlainRun run = t.Ask("balance", params);
  std::vector<std::vector<int64_t>> answers;
  for (size_t i = 0; i < asked.size(); ++i) answers.push_back(run.Integers("balance " + std::to_string(i)));
  return answers;
}

}  // namespace

SHARDLAB_PLAIN_CASE(skips, the_slowest_stage_is_minimal, kValue) {
  std::vector<AskedBalance> asked = {
      {{3, 1, 4, 1, 5}, 3},
      {{1, 1, 1, 1, 10}, 3},
      {{10, 1, 1, 1, 1}, 2},
      {{0, 0, 0, 0}, 4},
      {{1, 5, 2, 3}, 3}};  // 1+5, 2, 3 is more even than 1, 5, 2+3, and its largest part is larger
  for (int k = 0; k < 40; ++k) {
    AskedBalance one;
    const int64_t layers = t.Integer(1, 10);
    for (int64_t i = 0; i < layers; ++i) one.costs.push_back(static_cast<double>(t.Integer(0, 30)));
    one.parts = static_cast<int>(t.Integer(1, layers));
    asked.push_back(one);
  }
  const auto answers = AskBalances(t, asked);
  for (size_t i = 0; i < asked.size(); ++i) {
    const auto& sizes = answers[i];
    const std::string what = fmt::format("costs {} in {} parts", fmt::join(asked[i].costs, " "), asked[i].parts);
    const bool fits =
        static_cast<int>(sizes.size()) == asked[i].parts &&
        std::all_of(sizes.begin(), sizes.end(), [](int64_t size) { return size >= 1; }) &&
        std::accumulate(sizes.begin(), sizes.end(), int64_t{0}) == static_cast<int64_t>(asked[i].costs.size());
    t.Expect(fits,
             fmt::format("{}: the sizes {} do not cut the layers into non-empty parts", what, fmt::join(sizes, ",")));
    double largest = 0;
    size_t layer = 0;
    for (const int64_t size : sizes) {
      double part = 0;
      for (int64_t k = 0; k < size; ++k) part += asked[i].costs[layer++];
      largest = std::max(largest, part);
    }
    const double best = BestLargest(asked[i].costs, asked[i].parts);
    t.Expect(largest <= best, fmt::format("{}: the cut {} has a largest part of {:g}; there is one with {:g}", what,
                                          fmt::join(sizes, ","), largest, best));
  }
}

SHARDLAB_PLAIN_CASE(skips, stages_that_do_not_matter_are_even, kRobustness) {
  // A greedy start has the largest part at once; the best cut of a start alone is not the start of the best cut.
  std::vector<AskedBalance> asked = {{{9, 1, 1, 1, 1}, 3}, {{2, 2, 2, 1, 9}, 4}, {{3, 1, 1, 1, 8}, 3}};
  for (int k = 0; k < 20; ++k) {
    AskedBalance one;
    for (int64_t i = t.Integer(4, 9); i >= 0; --i) one.costs.push_back(static_cast<double>(t.Integer(1, 6)));
    one.costs[static_cast<size_t>(t.Integer(0, static_cast<int64_t>(one.costs.size())))] = 20;
    one.parts = static_cast<int>(t.Integer(3, 5));
    asked.push_back(one);
  }
  const auto answers = AskBalances(t, asked);
  for (size_t i = 0; i < asked.size(); ++i) {
    double largest = 0, squares = 0;
    size_t layer = 0;
    for (const int64_t size : answers[i]) {
      double part = 0;
      for (int64_t k = 0; k < size && layer < asked[i].costs.size(); ++k) part += asked[i].costs[layer++];
      largest = std::max(largest, part);
      squares += part * part;
    }
    const double best = BestSquares(asked[i].costs, asked[i].parts, BestLargest(asked[i].costs, asked[i].parts));
    t.Expect(squares <= best,
             fmt::format("costs {} in {} parts: the cut {} has the sum of squares {:g}; among the cuts with the "
                         "smallest largest part there is one with {:g}",
                         fmt::join(asked[i].costs, " "), asked[i].parts, fmt::join(answers[i], ","), squares, best));
  }
}

SHARDLAB_PLAIN_CASE(skips, cuts_that_there_are_not, kRobustness) {
  // JSON has no NaN: these travel as words.
  const nlohmann::json asked = {{{"costs", {1, 2}}, {"parts", 3}},
                                {{"costs", {1, 2}}, {"parts", 0}},
                                {{"costs", nlohmann::json::array()}, {"parts", 1}},
                                {{"costs", {1, -1}}, {"parts", 1}},
                                {{"costs", {1, "nan"}}, {"parts", 1}},
                                {{"costs", {1, "inf", 1}}, {"parts", 2}}};
  const PlainRun run = t.Ask("balance", {{"asked", asked}});
  for (size_t i = 0; i < asked.size(); ++i) {
    const auto sizes = run.Integers("balance " + std::to_string(i));
    t.Expect(sizes == std::vector<int64_t>{-1},
             fmt::format("costs {} in {} parts must be refused with ContractError; got {}", asked[i].at("costs").dump(),
                         asked[i].at("parts").dump(), fmt::join(sizes, ",")));
  }
}

// At most layers^2 * parts additions: 90 million here. With a factor of layers more they do not end.
SHARDLAB_PLAIN_CASE(skips, three_thousand_layers, kCost) {
  AskedBalance one{{}, 10};
  for (int i = 0; i < 3000; ++i) one.costs.push_back(static_cast<double>(t.Integer(1, 9)));
  nlohmann::json params;
  params["asked"].push_back({{"costs", one.costs}, {"parts", one.parts}});
  const auto sizes = t.Ask("balance", params, 20).Integers("balance 0");
  t.Expect(sizes.size() == 10, "3000 layers in 10 parts: the cut must have 10 sizes");
}

}  // namespace shardlab::grade
