#pragma once

#include <memory>

#include "shardlab/comm/announcer.hpp"
#include "shardlab/comm/communicator.hpp"

namespace shardlab {

/// `inner`, with every operation announced before it reaches `inner`: the operation when it starts, and the thread's
/// waiting for it. Sub-groups are announced through the same announcer.
///
/// What a message consists of is looked at when it is posted and when it is complete (all of it up to 32 KiB, so much
/// of a longer one), so that a tensor which changed while it was under way is found.
///
/// Cost: three writes to a pipe an operation (some 10 us a round trip of two messages); no message, no reply.
std::shared_ptr<Communicator> MakeAnnouncing(std::shared_ptr<Communicator> inner, std::shared_ptr<Announcer> announcer);

}  // namespace shardlab
