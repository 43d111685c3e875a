#pragma once

#include <cstdint>
#include <vector>

/// \file
/// How n things are divided among p parts, everywhere in shardlab: shards, tiles, chunks of a ring, sub-batches and
/// micro-batches. The first n % p parts get one more. (LibTorch's `chunk` does it differently.)

namespace shardlab {

/// The half-open range [begin, end) that one part holds.
struct Range {
  int64_t begin = 0;  ///< first index
  int64_t end = 0;    ///< one behind the last index

  /// How many things the range holds; 0 where there are more parts than things.
  int64_t size() const { return end - begin; }

  /// Equal ranges begin and end alike, empty ones too.
  friend bool operator==(const Range& a, const Range& b) { return a.begin == b.begin && a.end == b.end; }
  /// Not equal.
  friend bool operator!=(const Range& a, const Range& b) { return !(a == b); }
};

/// The range that part `part` of `parts` holds of `n` things.
/// \throws ContractError unless n >= 0, parts >= 1 and 0 <= part < parts.
Range SplitRange(int64_t n, int64_t parts, int64_t part);

/// The sizes of all `parts` parts of `n` things, in order; they sum to `n`.
/// \throws ContractError unless n >= 0 and parts >= 1.
std::vector<int64_t> SplitSizes(int64_t n, int64_t parts);

}  // namespace shardlab
