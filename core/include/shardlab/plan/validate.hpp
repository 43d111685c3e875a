#pragma once

#include <limits>
#include <vector>

#include "shardlab/plan/schedule.hpp"

/// \file
/// Is this schedule right, and what does it keep in memory? Answered without running it.

namespace shardlab {

/// The rules by which ranks run their lists; the engine keeps them, and Validate and Simulate assume nothing else.
///
///  - A rank does one action after the other. A computation waits until all its dependencies are there, a pair until
///    those of both its parts are.
///  - RECV posts the receive and goes on: whoever computes with the message waits for it.
///  - SEND starts the send and goes on. A send is complete when its receive is posted. Where a window limits how many
///    incomplete ones there may be, the k-th SEND in one direction to one rank first waits until the one `window`
///    before it is complete.
///  - REDUCE_GRAD waits until every rank with the same weights is in it.
struct RunRules {
  /// As many as there are.
  static constexpr int kNoWindow = std::numeric_limits<int>::max();

  /// Windows are for a run that cannot keep what it has sent. 1 never holds up a linear schedule; WPipe wants as many
  /// as there are ranks, since gradients lie at the wrap-around link until their rank comes to them, and can deadlock
  /// with fewer. 0 is a blocking send, on which 1F1B deadlocks unless its receives are posted ahead.
  int forward_window = kNoWindow;   ///< Of SEND_F.
  int backward_window = kNoWindow;  ///< Of SEND_B.

  /// The window that limits this kind of send.
  int WindowOf(ActionKind send) const { return send == ActionKind::kSendForward ? forward_window : backward_window; }
};

/// What the lists make ranks keep. It follows from the order of each list alone; times play no part.
struct Footprint {
  /// For each rank, the most micro-batches whose activations are alive at once, summed over its chunks: from F (or R,
  /// where there is one) until the weight gradient (B or W).
  std::vector<int> live;
  /// The same until the input gradient only (B or I). Of a split backward the weight half needs less.
  std::vector<int> live_until_input_gradient;
  /// For each rank, the most boundary inputs kept for a recomputation at once: from F until R.
  std::vector<int> kept_inputs;
  /// For each chunk, the most weight versions held at once: the latest, and those that the list will still use.
  std::vector<int> versions;
};

/// Checks a schedule from the first to the last entry.
///
///  1. Every entry is one that its rank can do, and is there once.
///  2. Every micro-batch runs forward through all chunks of one replica, and, unless nothing has a backward, back
///     through all of them by B or by I and W.
///  3. Within a list nothing comes before what it needs. A pair is a forward and a backward, and neither needs the
///     other.
///  4. F, R, B, I and W of one micro-batch use one weight version; versions are made by STEP in order 1, 2, 3...; every
///     gradient goes into a STEP if there is any; twins of a bidirectional layout are reduced before they step.
///  5. If there are sends and receives, then exactly those that are needed.
///  6. Run by the rules, all lists come to their end: no deadlock.
///
/// \return what the schedule keeps in memory.
/// \throws ScheduleError with the first fault, its place and the table that shows it. Of a deadlock the table says of
/// each rank what it waits for and where that is.
/// Cost: linear in the number of actions.
Footprint Validate(const Schedule& schedule, const RunRules& rules = {});

}  // namespace shardlab
