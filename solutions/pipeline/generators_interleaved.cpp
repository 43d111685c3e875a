#include <algorithm>

#include <fmt/format.h>

#include "shardlab/pipeline/generators.hpp"

// Interleaved 1F1B: cut the model into v*P chunks and go round the ranks v times. The pipeline fills in steps of a
// chunk instead of a stage, so the bubble is v times shorter; v times as many messages pay for it. Two ranks, two
// chunks each, four micro-batches, a backward as long as a forward (2F1 is the forward of chunk 2 on micro-batch 1):
//
//     rank 0   0F0 0F1 2F0 2F1 0F2 2B0 0F3 2B1 2F2 0B0 2F3 0B1     2B2     2B3 0B2 0B3
//     rank 1       1F0 1F1 3F0 3B0 3F1 3B1 1F2 1B0 1F3 1B1 3F2 3B2 3F3 3B3 1B2 1B3
//
// and the order in which rank 0 takes its forwards and its backwards:
//
//     k               0   1   2   3   4   5   6   7
//     block (1)       0   0   0   0   1   1   1   1
//     forward (2)    0F0 0F1 2F0 2F1 0F2 0F3 2F2 2F3
//     backward (3)   2B0 2B1 0B0 0B1 2B2 2B3 0B2 0B3
//
// (1) Micro-batches go in blocks of P, the length of one round: when the first of a block has gone round, the rank has
// just finished the block's last. (2) So the k-th forward has a number anyone can compute. (3) Backwards take the same
// numbers with the chunks in reverse. (4) The warm-up runs all chunks but the last on the first block, (v-1)P forwards,
// and 2 more for every later rank: one for the way there and one for the way back.

namespace shardlab {

Schedule InterleavedOneFOneB(int ranks, int chunks_per_rank, int microbatches) {
  const int P = ranks;
  const int v = chunks_per_rank;
  Schedule schedule("interleaved", Layout::Looped(P, v), microbatches);
  if (microbatches % P != 0) {
    throw ScheduleError(
        fmt::format("interleaved: {} micro-batches on {} ranks: the number of micro-batches must be a multiple of the "
                    "ranks, such as {}",
                    microbatches, P, (microbatches / P + 1) * P));
  }
  if (v < 2 && P > 1) throw ScheduleError("interleaved: a rank needs 2 chunks or more; with 1 use 1f1b");

  const int total = microbatches * v;
  for (int rank = 0; rank < P; ++rank) {
    const auto microbatch = [&](int k) { return k / (P * v) * P + k % P; };  // (1)
    const auto visit = [&](int k) { return k / P % v; };
    const auto forward = [&](int k) { return Action::Forward(visit(k) * P + rank, microbatch(k)); };              // (2)
    const auto backward = [&](int k) { return Action::Backward((v - 1 - visit(k)) * P + rank, microbatch(k)); };  // (3)
    const int warm_up = std::min(total, 2 * (P - rank - 1) + (v - 1) * P);                                        // (4)
    auto& list = schedule.ranks[rank];
    for (int k = 0; k < total + warm_up; ++k) {
      if (k < total) list.push_back(forward(k));
      if (k >= warm_up) list.push_back(backward(k - warm_up));
    }
  }
  return schedule;
}

}  // namespace shardlab
