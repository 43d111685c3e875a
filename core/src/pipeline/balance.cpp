#include "shardlab/pipeline/balance.hpp"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"

namespace shardlab {

double LargestPart(const std::vector<double>& costs, const std::vector<int>& sizes) {
  double largest = 0;
  auto layer = costs.begin();
  for (const int size : sizes) {
    if (size < 0 || size > costs.end() - layer) {
      throw ContractError(fmt::format("the balance {} does not add up to {} layers", BalanceText(sizes), costs.size()));
    }
    largest = std::max(largest, std::accumulate(layer, layer + size, 0.0));
    layer += size;
  }
  return largest;
}

void RequireBalance(const std::vector<int>& sizes, int layers, int stages, const std::vector<int>& recommended) {
  if (stages < 1 || stages > layers) {
    throw ContractError(
        fmt::format("a model of {} layer{} cannot be cut into {} stages, none of them empty: use 1 to {}", layers,
                    layers == 1 ? "" : "s", stages, layers));
  }
  std::vector<int> advice = recommended;
  if (advice.empty()) {
    for (const int64_t size : SplitSizes(layers, stages)) advice.push_back(static_cast<int>(size));
  }
  const auto refuse = [&](const std::string& why) {
    throw ContractError(fmt::format("the balance {} {}: use for example {}",
                                    sizes.empty() ? "(none)" : BalanceText(sizes), why, BalanceText(advice)));
  };
  if (static_cast<int>(sizes.size()) != stages) {
    refuse(fmt::format("has {} numbers for {} stages", sizes.size(), stages));
  }
  const auto empty = std::find_if(sizes.begin(), sizes.end(), [](int size) { return size < 1; });
  if (empty != sizes.end()) {
    refuse(fmt::format("gives stage {} {} layers, and every stage needs at least 1", empty - sizes.begin(), *empty));
  }
  const int64_t sum = std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
  if (sum != layers) refuse(fmt::format("adds up to {} layers, and the model has {}", sum, layers));
}

Range LayersOf(const std::vector<int>& sizes, int stage) {
  const int64_t begin = std::accumulate(sizes.begin(), sizes.begin() + stage, int64_t{0});
  return {begin, begin + sizes.at(static_cast<size_t>(stage))};
}

std::string BalanceText(const std::vector<int>& sizes) { return fmt::format("{}", fmt::join(sizes, ",")); }

}  // namespace shardlab
