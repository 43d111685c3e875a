#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "shardlab/pipeline/generators.hpp"

/// \file
/// Two schedules that are made of InterleavedOneFOneB's lists, those of the flavour that a program is linked with.
///
/// Interleaving takes micro-batches in blocks of as many as there are ranks. Let m be any number: b = max(1, m / P)
/// blocks, whose sizes differ by one at most, the largest n. On n ranks, blocks of n are what InterleavedOneFOneB makes;
/// the last P of these ranks, without the micro-batches that a smaller block lacks, are what P ranks run:
///
///     m = 7 on P = 3 ranks: 2 blocks, of 4 and 3. Rank 0 of 3 does what rank 1 of 4 does for 8 micro-batches, less (1).
///
///     block 0   0 1 2 3         block 1   4 5 6 (7)        (1) the last of block 1
///
/// What is left of a valid schedule is valid: every micro-batch passes the ranks that stay in the same order.

namespace shardlab {

/// 1F1B over v chunks a rank for any number of micro-batches.
///
/// Layout looped. For m >= P makespan, bubble and messages of InterleavedOneFOneB, whose lists these are where m is a
/// multiple of P; otherwise live up to min(m*v, 2(P-s-1) + (v-1)n + 1) chunks. For m < P: makespan
/// P(tf+tb) + (m-1)(tf+tb)/v.
/// \throws ScheduleError as InterleavedOneFOneB does, but for the number of micro-batches.
inline Schedule InterleavedAny(int ranks, int chunks_per_rank, int microbatches) {
  const int P = ranks;
  Schedule schedule("interleaved-any", Layout::Looped(P, chunks_per_rank), microbatches);
  const int blocks = std::max(1, microbatches / P);
  const int n = std::max(P, (microbatches + blocks - 1) / blocks);
  const auto begin_of = [&](int block) {  // the first of them have one more
    return block * (microbatches / blocks) + std::min(block, microbatches % blocks);
  };
  const Schedule wide = InterleavedOneFOneB(n, chunks_per_rank, blocks * n);
  for (int rank = 0; rank < P; ++rank) {
    for (Action action : wide.ranks[static_cast<size_t>(n - P + rank)]) {
      const int block = action.microbatch / n;
      action.chunk = action.chunk / n * P + rank;
      action.microbatch = begin_of(block) + action.microbatch % n;
      if (action.microbatch < begin_of(block + 1)) schedule.ranks[static_cast<size_t>(rank)].push_back(action);
    }
  }
  return schedule;
}

/// Interleaved zero bubble: the order of InterleavedAny with the backward in halves, for any number of micro-batches.
///
/// I comes where interleaving has B. W is put off by as many as rank s is behind the first one, as in ZeroBubbleH1; so
/// (v-1)n + P-1-s warm-up forwards are enough, and every rank keeps as much.
///
/// Layout looped. For m >= P and TW <= TB: makespan m(TF+TB+TW) + (P-1)(TB + max(TF-TW, 0))/v; live
/// min(m*v, (v-1)n + P) chunks until the weight gradient. Sources: arXiv 2401.10241, arXiv 2104.04473.
/// \throws ScheduleError as InterleavedAny does.
inline Schedule InterleavedZeroBubble(int ranks, int chunks_per_rank, int microbatches) {
  const int P = ranks;
  Schedule schedule = InterleavedAny(P, chunks_per_rank, microbatches);
  schedule.name = "interleaved-zb";
  const int blocks = std::max(1, microbatches / P);
  const int n = (microbatches + blocks - 1) / blocks;
  for (int rank = 0; rank < P; ++rank) {
    auto& list = schedule.ranks[static_cast<size_t>(rank)];
    const auto backwards = std::stable_partition(
        list.begin(), list.end(), [](const Action& action) { return action.kind == ActionKind::kForward; });
    const std::vector<Action> F(list.begin(), backwards);
    const std::vector<Action> B(backwards, list.end());
    const size_t delay = static_cast<size_t>(rank);
    const size_t warm_up = std::min(F.size(), static_cast<size_t>((chunks_per_rank - 1) * n + P - 1 - rank));
    list.assign(F.begin(), F.begin() + static_cast<std::ptrdiff_t>(warm_up));
    for (size_t k = 0; k < B.size() + delay; ++k) {
      if (k + warm_up < F.size()) list.push_back(F[k + warm_up]);
      if (k < B.size()) list.push_back(Action::BackwardInput(B[k].chunk, B[k].microbatch));
      if (k >= delay) list.push_back(Action::BackwardWeight(B[k - delay].chunk, B[k - delay].microbatch));
    }
  }
  return schedule;
}

}  // namespace shardlab
