#pragma once

#include "shardlab/plan/schedule.hpp"

/// \file
/// Schedules that are known from papers and are nobody's exercise: to look at, to train with, to hold one's own
/// against. Like all generators they emit computation only; the words are those of
/// shardlab/pipeline/generators.hpp.
///
/// All throw ScheduleError unless there is at least one rank and one micro-batch.

namespace shardlab {

/// Breadth first: a rank runs its first chunk on all micro-batches, then its second, ...; then back, the last chunk's
/// last micro-batch first. GPipe over v chunks a rank: the shorter bubble of interleaving for the memory of GPipe.
///
/// Layout looped. For m >= P: makespan m(tf+tb) + (P-1)(tf+tb)/v, bubble (P-1)/(v*m+P-1). Live m*v chunks. Messages
/// 2m(Pv-1). Source: arXiv 2211.05953.
/// \throws ScheduleError unless, with P >= 2 ranks, v >= 2 (for v = 1 use gpipe).
Schedule LoopedBreadthFirst(int ranks, int chunks_per_rank, int microbatches);

/// ZB-V: two chunks a rank in a vee, both ends of the model on rank 0, and the backward in halves. No bubble as ZB-H2,
/// in the memory of 1F1B: a rank that began early with its first chunk ends late with it.
///
/// Layout vee. For m >= 2P-1 and TF = TB = TW no rank is idle between its first and its last action, so that the
/// makespan is m(TF+TB+TW) + (P-1)TF/2; live 2P chunks of half a stage, which is P micro-batches. Fewer micro-batches
/// run the list of 2P-1 without those that are missing. Source: arXiv 2401.10241, section 6.
Schedule ZeroBubbleV(int ranks, int microbatches);

/// DualPipeV: the vee run from both ends, where a forward of one chunk and a backward of the other are a pair: one
/// computes while the other's messages travel.
///
/// Layout vee. For m >= 2P, TF = TB and TW <= TF: makespan m(TF+TB+TW) + (P-1)(TF+2TB-TW)/2, where a pair takes as long
/// as its parts; live 2P+1 chunks of half a stage. Fewer micro-batches run the list of 2P without those that are
/// missing. Source: arXiv 2412.19437 (DualPipe), cut in half by a vee.
Schedule DualPipeV(int ranks, int microbatches);

}  // namespace shardlab
