#include "shardlab/base/split.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

Range SplitRange(int64_t n, int64_t parts, int64_t part) {
  if (n < 0 || parts < 1 || part < 0 || part >= parts) {
    throw ContractError(fmt::format("SplitRange: part {} of {} parts of {} things does not exist", part, parts, n));
  }
  const int64_t size = n / parts;
  const int64_t larger = n % parts;  // the first `larger` parts hold size + 1
  const int64_t begin = part * size + std::min(part, larger);
  return {begin, begin + size + (part < larger ? 1 : 0)};
}

std::vector<int64_t> SplitSizes(int64_t n, int64_t parts) {
  if (parts < 1) {
    throw ContractError(fmt::format("SplitSizes: {} things cannot be divided into {} parts", n, parts));
  }
  std::vector<int64_t> sizes;
  sizes.reserve(static_cast<size_t>(parts));
  for (int64_t part = 0; part < parts; ++part) sizes.push_back(SplitRange(n, parts, part).size());
  return sizes;
}

}  // namespace shardlab
