#pragma once

#include <cstddef>
#include <cstdint>

#include "shardlab/comm/record.hpp"

/// \file
/// What passes between a rank and the supervisor's relay, over a stream socket: a RelayHead, and after it
///
///     a message        `bytes` bytes for world rank `peer`; comes out at that rank with `peer` saying from whom
///     a contribution   to a collective: `count` RelayShares, one a rank of the group in its order, then the shares'
///                      bytes one after the other; or, when `shared`, one piece that is everybody's share. Comes out at each
///                      of the others as a part: its share, with `peer` saying from whom
///
/// The group's id, the tag, and a collective's number within its group travel along and mean nothing to the relay.

namespace shardlab::grade {

struct RelayHead {
  uint32_t magic = 0;         ///< kRelayMagic
  OpKind op = OpKind::kSend;  ///< kSend: a message; anything else but kRecv: a collective
  uint8_t shared = 0;         ///< of a contribution
  uint16_t count = 0;         ///< of a contribution: ranks of the group
  int32_t peer = -1;          ///< a world rank
  int32_t tag = 0;            ///< of a message
  uint64_t group = 0;         ///< the group's id
  uint64_t number = 0;        ///< of a collective within its group
  uint64_t bytes = 0;         ///< of all that follows the head and the shares
};

struct RelayShare {
  int32_t rank = 0;  ///< a world rank
  uint32_t unused = 0;
  uint64_t bytes = 0;  ///< for it
};

constexpr uint32_t kRelayMagic = 0x59414c52;  // "RLAY"
/// Nothing that passes at once is larger.
constexpr uint64_t kRelayLargest = uint64_t{1} << 30;

}  // namespace shardlab::grade
