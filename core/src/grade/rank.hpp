#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "shardlab/comm/memory_store.hpp"
#include "shardlab/grade/body.hpp"
#include "shardlab/grade/case.hpp"
#include "shardlab/launch/process.hpp"

namespace shardlab::grade {

/// The body that SHARDLAB_BODY(name) defined, or null.
BodyFunction FindBody(const std::string& name);
std::vector<std::string> BodyNames();

/// What a forked rank is told.
struct RankSpec {
  std::string body;
  int rank = 0;
  int size = 1;
  int threads = 1;
  uint64_t nonce = 0;
  double limit_s = 10;
  bool point_to_point_only = false;
  bool observed = true;
  FaultSpec faults;
  Limits limits;
  const StoreMemory* store = nullptr;  ///< through which the ranks find each other
  /// Shared by the ranks: how many are connected to all others, and how many bodies have returned.
  std::atomic<uint32_t>* connected = nullptr;
  std::atomic<uint32_t>* returned = nullptr;
};

/// Becomes a rank: connects to the others, runs the body, leaves its outputs and how it ended in `output`, and ends the
/// process. With a `relay` all that it sends and receives goes through that, and the other ranks are elsewhere.
[[noreturn]] void RunRank(const RankSpec& spec, int announcements, launch::Fd input, launch::Fd output,
                          launch::Fd relay);

}  // namespace shardlab::grade
