#pragma once

#include "shardlab/plan/schedule.hpp"

/// \file
/// Passes: what every schedule needs and no generator should have to think of. Each takes a schedule and returns a
/// larger one.
///
/// Order: a policy (policies.hpp) first, then AddGradientReduction, AddRecompute, AddCommunication.

namespace shardlab {

/// Adds the sends and receives that carry activations and gradients between ranks.
///
/// A SEND stands right behind the computation that yields the tensor. A RECV stands `ahead` computations before the one
/// that needs the tensor, so that the message can travel while the rank still computes something else:
///
///     ahead = 0:    ...  F4  RECV_B1  B1        the rank idles while the gradient travels
///     ahead = 1:    ...  RECV_B1  F4  B1        it travels during F4
///
/// \throws ScheduleError when there is communication in the schedule already, or `ahead` is negative.
Schedule AddCommunication(const Schedule& schedule, int ahead = 1);

/// Which micro-batches of a mini-batch keep only their boundary input and run the forward again for the backward.
/// With m micro-batches a stage's forward runs 2m, 2m-1 or m times.
enum class Recompute {
  kAlways,
  kExceptLast,  ///< All but the last one, whose backward comes right behind its forward on the last stage.
  kNever,
};

/// Adds a recomputation in front of the backward (or its input half) of the micro-batches that `mode` names. It needs
/// no gradient: it can run while the gradient is still on its way.
///
/// \param mini_batch how many micro-batches a mini-batch has; 0 for all that the schedule has.
/// \throws ScheduleError when there is recomputation in it already, `mini_batch` is negative, or, for kExceptLast,
/// the micro-batches are not a multiple of it.
Schedule AddRecompute(const Schedule& schedule, Recompute mode, int mini_batch = 0);

/// Adds a REDUCE_GRAD in front of every STEP, which sums the gradients over all ranks that hold the same weights: the
/// mirrored chunk of a bidirectional layout, and the replicas of data parallelism, of which the schedule knows nothing.
/// \throws ScheduleError when there are reductions in it already.
Schedule AddGradientReduction(const Schedule& schedule);

/// All micro-batches forward through all chunks and no backward: an evaluation, once AddCommunication has been over it.
Schedule ForwardOnly(const Layout& layout, int microbatches);

}  // namespace shardlab
