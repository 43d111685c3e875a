#pragma once

#include "shardlab/base/contract.hpp"
#include "shardlab/plan/schedule.hpp"

/// \file
/// Contracts: which weight version every forward and backward uses, and when the optimizer steps. This is all that
/// distinguishes 1F1B, PipeDream and PipeDream-2BW: a policy takes the computation of a generator and fills in
/// `Action::version` and the STEPs.
///
/// `w_s(t)` is version t of stage s. A `STEP@k` takes the weights of version k-1 and all gradients of its chunk since
/// the STEP before, whatever versions these were computed on. P stages, m micro-batches an update.

namespace shardlab {

/// One update of every chunk at the end of all lists, which makes version 1 of its weights: the gradient of the whole
/// mini-batch, as in one process. On a rank with several chunks they step in ascending order of stages, so that ranks
/// which hold the same stages agree on the order of their reductions.
/// \throws ScheduleError when there are steps in the schedule already.
SHARDLAB_CONTRACT Schedule Flush(Schedule schedule);

/// PipeDream: every micro-batch is an update. A forward uses the latest version of its stage, the backward of the same
/// micro-batch the same one again, and right behind that backward comes a STEP.
///
/// On 1F1B's lists micro-batch t uses version max(t-(P-1-s), 0) at stage s. A stage holds P-s versions in a run of at
/// least 2(P-s)-2 micro-batches, and fewer in a shorter one:
///
///     w_s(t+1) = w_s(t) - eta d_s f(w_0(max(t-(P-1), 0)), ..., w_s(max(t-(P-1-s), 0)), ...)
///
/// Source: arXiv 1806.03377.
/// \throws ScheduleError when there are steps in the schedule already.
SHARDLAB_CONTRACT Schedule StashWeights(Schedule schedule);

/// PipeDream with vertical sync: micro-batch t uses version max(t-P+1, 0), the newest that the last stage can have as
/// well, at every stage, P being the number of stages; steps as in StashWeights. Up to P versions a stage.
/// \throws ScheduleError when there are steps in the schedule already.
SHARDLAB_CONTRACT Schedule StashWeightsVerticalSync(Schedule schedule);

/// PipeDream-2BW: an update every m micro-batches; the micro-batches of update t (from 0) use version max(t-1, 0) at
/// every stage, which therefore holds 2 versions:
///
///     W(t+1) = W(t) - eta g(W(max(t-1, 0)))
///
/// Source: arXiv 2006.09503.
/// \throws ScheduleError unless m is at least the number of stages, the schedule's micro-batches are a multiple of m,
/// and there are no steps in it yet.
SHARDLAB_CONTRACT Schedule DoubleBufferWeights(Schedule schedule, int microbatches_per_update);

/// WPipe: an update every m micro-batches, m a multiple of the ranks. In update t (from 0) group 0, the first half of
/// the stages, uses version max(t-1, 0) and group 1 version t: 2 versions of one half and 1 of the other, 1.5 models in
/// all.
///
/// Source: WPipe, ICLR 2022.
/// \throws ScheduleError unless the layout is looped with 2 chunks a rank, m is a multiple of the ranks, the schedule's
/// micro-batches are a multiple of m, and there are no steps in it yet.
SHARDLAB_CONTRACT Schedule GroupWeights(Schedule schedule, int microbatches_per_update);

}  // namespace shardlab
