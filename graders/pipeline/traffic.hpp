#pragma once

#include <cstdint>
#include <string>

#include "shardlab/grade/referee.hpp"

namespace shardlab::grade {

/// Sends that a rank posts between two marks.
struct Traffic {
  int64_t messages = 0;
  int64_t bytes = 0;
  int64_t collectives = 0;
};
/// \param from,to names of marks.
Traffic TrafficBetween(const Run& run, int rank, const std::string& from, const std::string& to);
/// The same over all ranks.
Traffic TotalTraffic(const Run& run, int ranks, const std::string& from, const std::string& to);

}  // namespace shardlab::grade
