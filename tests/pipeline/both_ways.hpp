#pragma once

#include <algorithm>
#include <tuple>
#include <vector>

#include "shardlab/plan/schedule.hpp"

namespace shardlab::test {

/// A schedule by hand for two copies of a model: micro-batches 0, 2, 4... run through copy 0, the others through copy 1,
/// and two of them, one of each, are in the pipe at once:
///
///     rank 0   F0 .. .. F1 B1 .. .. B0        stage 0 of copy 0, stage 3 of copy 1
///     rank 1   .. F0 F1 .. .. B1 B0 ..
///     rank 2   .. F1 F0 .. .. B0 B1 ..
///     rank 3   F1 .. .. F0 B0 .. .. B1        then the next two
inline Schedule BothWays(int ranks, int microbatches) {
  Schedule schedule("both ways", Layout::Bidirectional(ranks), microbatches);
  for (int rank = 0; rank < ranks; ++rank) {
    std::vector<std::tuple<int, int, Action>> timed;  // pair, time, action
    for (int i = 0; i < microbatches; ++i) {
      for (const int chunk : schedule.layout.ChunksOf(rank)) {
        const Chunk& where = schedule.layout.chunk(chunk);
        if (where.replica != i % 2) continue;
        timed.emplace_back(i / 2, where.stage, Action::Forward(chunk, i));
        timed.emplace_back(i / 2, 2 * ranks - 1 - where.stage, Action::Backward(chunk, i));
      }
    }
    std::stable_sort(timed.begin(), timed.end(), [](const auto& a, const auto& b) {
      return std::tie(std::get<0>(a), std::get<1>(a)) < std::tie(std::get<0>(b), std::get<1>(b));
    });
    for (const auto& entry : timed) schedule.ranks[static_cast<size_t>(rank)].push_back(std::get<2>(entry));
  }
  return schedule;
}

}  // namespace shardlab::test
