#include "shardlab/pipeline/balance.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <utility>

#include "shardlab/base/errors.hpp"

namespace shardlab {

namespace {

// The most even cut of the layers from `begin` on whose parts keep to a limit, by trying every first part.
class Cutter {
 public:
  Cutter(const std::vector<double>& costs, double limit) : costs_(costs), limit_(limit) {}

  struct Cut {
    double squares = 0;
    std::vector<int> sizes;
  };

  const std::optional<Cut>& Best(size_t begin, int parts) {
    const auto key = std::make_pair(begin, parts);
    const auto known = known_.find(key);
    if (known != known_.end()) return known->second;
    std::optional<Cut> best;
    if (parts == 0) {
      if (begin == costs_.size()) best = Cut{};
      return known_[key] = best;
    }
    double part = 0;
    for (size_t end = begin + 1; end <= costs_.size(); ++end) {
      part += costs_[end - 1];
      if (part > limit_) break;
      const std::optional<Cut>& rest = Best(end, parts - 1);
      if (!rest || (best && rest->squares + part * part >= best->squares)) continue;
      best = Cut{rest->squares + part * part, {static_cast<int>(end - begin)}};
      best->sizes.insert(best->sizes.end(), rest->sizes.begin(), rest->sizes.end());
    }
    return known_[key] = best;
  }

 private:
  const std::vector<double>& costs_;
  const double limit_;
  std::map<std::pair<size_t, int>, std::optional<Cut>> known_;
};

}  // namespace

std::vector<int> Balance(const std::vector<double>& costs, int parts) {
  if (parts < 1 || static_cast<size_t>(parts) > costs.size()) throw ContractError("a part would be empty");
  for (const double cost : costs) {
    if (!std::isfinite(cost) || cost < 0) throw ContractError("a cost is negative or infinite");
  }
  // The largest part is some run of layers, so the limits worth trying are the costs of all runs.
  std::vector<double> limits;
  for (size_t begin = 0; begin < costs.size(); ++begin) {
    double run = 0;
    for (size_t end = begin; end < costs.size(); ++end) limits.push_back(run += costs[end]);
  }
  std::sort(limits.begin(), limits.end());
  const auto first = std::partition_point(limits.begin(), limits.end(),
                                          [&](double limit) { return !Cutter(costs, limit).Best(0, parts); });
  return Cutter(costs, *first).Best(0, parts)->sizes;
}

}  // namespace shardlab
