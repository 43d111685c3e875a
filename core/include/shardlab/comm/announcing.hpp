#pragma once

#include <memory>

#include "shardlab/comm/announcer.hpp"
#include "shardlab/comm/communicator.hpp"

namespace shardlab {

/// What a receive buffer holds between IRecv and Wait: NaN as float64, float32, float16 and bfloat16, and an odd large
/// number as an integer. It is another one than kNewMemoryWord.
constexpr uint16_t kNotReceivedWord = 0x7ffd;

/// `inner`, with every operation announced before it reaches `inner`: the operation when it starts, and the thread's
/// waiting for it. Sub-groups are announced through the same announcer.
///
/// What a message consists of is looked at when it is posted and when it is complete (all of it up to 32 KiB, so much
/// of a longer one), so that a tensor which changed while it was under way is found.
///
/// Cost: three writes to a pipe an operation (some 10 us a round trip of two messages); no message, no reply.
/// A receive buffer is filled with kNotReceivedWord first, so that who reads it before Wait shows.
std::shared_ptr<Communicator> MakeAnnouncing(std::shared_ptr<Communicator> inner, std::shared_ptr<Announcer> announcer);

}  // namespace shardlab
