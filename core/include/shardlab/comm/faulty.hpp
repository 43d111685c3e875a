#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "shardlab/comm/communicator.hpp"
#include "shardlab/comm/record.hpp"

namespace shardlab {

/// The trouble that MakeFaulty makes. Times are seconds.
struct FaultOptions {
  /// Every operation of `delay_ops` (empty: of any kind) completes at least so long after its start.
  double delay_s = 0;
  /// The kinds that are delayed.
  std::vector<OpKind> delay_ops;
  /// The delays queue up behind each other, as on one link: an operation completes delay_s after its start or after the
  /// one before it, whichever is later. n of them started together take n * delay_s; a Wait sees what is left of that.
  bool serial_link = false;
  /// Every message is late by a random time up to this, besides.
  double jitter_s = 0;
  /// The share of ISends that are overtaken by the rank's next operation (but never by one to the same rank with the
  /// same tag: that order is promised).
  double reorder = 0;
  /// Which of this rank's sends (0: the first) are lost. Their Wait returns as if nothing had happened.
  std::vector<int64_t> drop_sends;
  /// The rank kills itself (SIGKILL) when it starts its operation of this number (0: the first); -1: it does not.
  int64_t die_at = -1;
  /// Draws jitter and reorder, a sequence of its own for each rank.
  uint64_t seed = 0;
};

/// `inner` with faults, and the same for its sub-groups, whose operations count and queue with this one's. It stands
/// above MakeAnnouncing: what is lost is never announced, and a delay is not a wait for anybody.
std::shared_ptr<Communicator> MakeFaulty(std::shared_ptr<Communicator> inner, const FaultOptions& options);

}  // namespace shardlab
