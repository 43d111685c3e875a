#pragma once

#include <chrono>
#include <memory>
#include <string>

#include <c10/util/intrusive_ptr.h>

#include "shardlab/comm/communicator.hpp"

namespace c10d {
class Store;
}

namespace shardlab {

class FailureNews;

/// How MakeGlooCommunicator connects the ranks.
struct GlooOptions {
  /// How long one operation may take before its Wait throws, and how long ranks look for each other at the start.
  std::chrono::milliseconds limit{30000};
  /// The address or host name of this machine under which the other ranks reach it; ranks of one machine use loopback.
  std::string address = "127.0.0.1";
  /// Where ranks learn of others' failures: an operation is then given up as soon as any rank of the world has failed,
  /// and says why. Null: it waits until its own connections close, or its limit.
  std::shared_ptr<FailureNews> news = nullptr;
  /// False: there are messages and sub-groups, and no collective. One is refused with ContractError, and Gloo has no
  /// thread that would run it, whoever asks Gloo.
  bool collectives = true;
};

/// The world of `size` ranks, processes that talk through Gloo (over TCP) and find each other in `store`. Every rank
/// calls it; it returns when all have.
///
/// Collectives of a group run one after the other in one thread of Gloo's; messages need no thread. What each costs:
///  - AllReduce: Gloo's ring, 2(T-1) rounds, 2(T-1)/T * S a rank; the same bits everywhere. Dtypes that Gloo cannot add
///    (bool, int16, bfloat16, complex): an all-gather, summed by every rank in the order of ranks.
///  - AllGather: Gloo's ring, T-1 rounds; uneven parts travel padded to the largest.
///  - ReduceScatter, which Gloo lacks: an all-to-all and a local sum in the order of ranks, (T-1)/T * S a rank.
///  - Broadcast: a tree. AllToAll: T-1 messages a rank.
///
/// The connections of sub-groups stay open as long as any communicator of the world lives.
///
/// From then on the process ignores SIGPIPE, unless it handles it: a write to a rank that has died throws CommError.
///
/// CUDA tensors travel through copies on the host. Empty tensors are waited for like any others.
///
/// \throws CommError when the ranks do not find each other within the limit.
std::shared_ptr<Communicator> MakeGlooCommunicator(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size,
                                                   const GlooOptions& options = {});

}  // namespace shardlab
