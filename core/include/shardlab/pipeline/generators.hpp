#pragma once

#include "shardlab/base/contract.hpp"
#include "shardlab/plan/schedule.hpp"

/// \file
/// Contracts: who computes what in which order. A generator emits computation only, in ~30 lines; weight versions and
/// optimizer steps are a policy's work (policies.hpp), messages are a pass's (passes.hpp).
///
/// P stages on P ranks, s a stage (and its rank), m micro-batches, v chunks a rank; tf and tb the times of forward and
/// backward of one rank's share of the model for one micro-batch, TF = tf, TB and TW the halves of tb. "Live" counts
/// the micro-batches whose activations a rank keeps. Whatever the times are, the lists are the same.
///
/// All throw ScheduleError unless there is at least one stage and one micro-batch (the constructors of Layout and
/// Schedule see to that), and handle a single stage and fewer micro-batches than stages.

namespace shardlab {

/// One micro-batch at a time goes forward through all stages and back: all ranks but one always wait.
///
/// Layout linear. Makespan mP(tf+tb), bubble (P-1)/P, live 1.
SHARDLAB_CONTRACT Schedule Naive(int stages, int microbatches);

/// All forwards, then all backwards, the last micro-batch's first.
///
/// Layout linear. Makespan (m+P-1)(tf+tb), bubble (P-1)/(m+P-1), live m. Source: arXiv 1811.06965.
SHARDLAB_CONTRACT Schedule GPipe(int stages, int microbatches);

/// After min(m, P-1-s) warm-up forwards, one forward and one backward in turn, then the remaining backwards; both in
/// ascending order of micro-batches.
///
/// Layout linear. Makespan and bubble of GPipe, but live min(m, P-s): it does not grow with m. Sources: PipeDream-Flush
/// in arXiv 2006.09503, arXiv 2104.04473.
SHARDLAB_CONTRACT Schedule OneFOneB(int stages, int microbatches);

/// 1F1B over v chunks a rank, chunk c on rank c % P. Micro-batches go in blocks of P: a rank runs its first chunk on a
/// whole block, then its second, ..., and then the next block. Backwards go the same way with the chunks in reverse.
/// Warm-up: min(m*v, 2(P-s-1) + (v-1)P) forwards.
///
/// Layout looped. Makespan m(tf+tb) + (P-1)(tf+tb)/v, bubble (P-1)/(v*m+P-1), live min(m*v, 2(P-s-1) + (v-1)P + 1)
/// chunks. Messages 2m(Pv-1). Source: arXiv 2104.04473.
/// \throws ScheduleError unless m is a multiple of P and, with P >= 2 ranks, v >= 2 (for v = 1 use OneFOneB).
SHARDLAB_CONTRACT Schedule InterleavedOneFOneB(int ranks, int chunks_per_rank, int microbatches);

/// 1F1B with the backward in halves: I as early as 1F1B has B, so that nobody waits longer, and W later, where 1F1B
/// would idle: behind the I of micro-batch k stands the W of micro-batch k-s; what is left over comes at the end. On
/// stage 0 that is the W of the same micro-batch: a whole backward, which may be written as one B.
///
/// Layout linear. For m >= P and TW <= TB: makespan m(TF+TB+TW) + (P-1)(TB + max(TF-TW, 0)), which for TW <= TF is the
/// m(TF+TB+TW) + (P-1)(TF+TB-TW) of the source; live P-s until the input gradient, min(m, P) until the weight gradient.
/// Source: arXiv 2401.10241.
SHARDLAB_CONTRACT Schedule ZeroBubbleH1(int stages, int microbatches);

/// Twice the warm-up and no bubble: min(m, 2(P-s)-1) forwards, then I, W and F in turn, where behind the I of
/// micro-batch k stands the W of micro-batch k-2s; what is left over comes at the end. Ranks begin and end one after
/// the other: a step must not wait for all of them.
///
/// Layout linear. For m >= 2P-1 and TW <= TF the rank that is idle longest between its first and its last action is so for
/// max(0, (P-1)(TF+TB-2TW)): none for TF = TB = TW. Live 2P-1 until the weight gradient. Source: arXiv 2401.10241.
SHARDLAB_CONTRACT Schedule ZeroBubbleH2(int stages, int microbatches);

/// Two chunks a rank: s (group 0, the first half of the model) and s+P (group 1). Micro-batches go in blocks of P:
/// forwards run group 0 on a block, then group 1; backwards group 1, then group 0. After min(2m, 2P-1-s) warm-up
/// forwards, one forward and one backward in turn; no flush, so group 0's forwards of the next block run before its
/// backwards of this one.
///
/// Layout looped. Makespan m(tf+tb) + (P-1)(tf+tb)/2 for all m micro-batches of the run; live 2P-s chunks. Messages
/// 2m(2P-1). Source: WPipe, ICLR 2022.
/// \throws ScheduleError unless m is a multiple of P.
SHARDLAB_CONTRACT Schedule WPipe(int ranks, int microbatches);

}  // namespace shardlab
