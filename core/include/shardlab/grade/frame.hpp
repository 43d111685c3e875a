#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace shardlab::grade {

/// A tensor as it travels between the referee and a rank: raw and bounded, never unpickled.
struct Frame {
  uint8_t dtype = 0;           ///< c10::ScalarType
  std::vector<int64_t> shape;  ///< at most 8 dimensions
  std::vector<uint8_t> bytes;  ///< row-major
};

/// Frames by name.
using Frames = std::map<std::string, Frame>;

}  // namespace shardlab::grade
