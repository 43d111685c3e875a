#pragma once

#include <cstdint>

/// \file
/// What a rank announces before it acts. A record goes down the rank's own pipe with one write before the call that it
/// announces reaches Gloo; nobody answers. Whoever reads all pipes knows what every rank waits for.

namespace shardlab {

/// The operations of a Communicator.
enum class OpKind : uint8_t { kSend, kRecv, kAllReduce, kAllGather, kReduceScatter, kBroadcast, kAllToAll, kBarrier };

/// What a record says.
enum class RecordKind : uint8_t {
  kGroup,        ///< this rank belongs to group `group`, whose members are `members`
  kPost,         ///< operation `id` is about to be started
  kBlock,        ///< this thread is about to wait for operation `id`
  kUnblock,      ///< operation `id` is complete and its thread goes on
  kThreadStart,  ///< a helper thread `thread` begins to take part
  kThreadEnd,    ///< it is done
  kMark,         ///< a moment that a case wants to see in the order of events; `name` says which
  kReturn        ///< the rank's body returned
};

/// One announcement. Plain data of fixed size, smaller than PIPE_BUF, so that a write of it is never torn.
struct Record {
  RecordKind kind = RecordKind::kMark;  ///< what is announced
  OpKind op = OpKind::kBarrier;         ///< which operation
  uint8_t dtype = 0;                    ///< c10::ScalarType
  uint8_t reduce = 0;                   ///< ReduceOp
  int8_t dims = 0;             ///< number of dimensions of the (first) tensor; at most 6 of them are in `shape`
  uint8_t reserved = 0;        ///< zero
  uint16_t thread = 0;         ///< 0 is the rank's main thread
  int32_t peer = -1;           ///< world rank of the other side, or of the root
  int32_t tag = 0;             ///< of a point-to-point message
  uint32_t line = 0;           ///< of the caller
  uint64_t id = 0;             ///< numbers this rank's operations
  uint64_t group = 0;          ///< the group's id
  uint64_t sequence = 0;       ///< collectives: the how-manieth of this group on this rank
  int64_t bytes_sent = 0;      ///< bytes this rank hands over (of all tensors; 0 for a receive)
  int64_t bytes_received = 0;  ///< bytes this rank is to get
  int64_t time_ns = 0;         ///< CLOCK_MONOTONIC
  int64_t shape[6] = {0, 0, 0, 0, 0, 0};  ///< of the (first) tensor
  uint64_t members[2] = {0, 0};           ///< kGroup: a bit for each world rank
  char name[64] = "";                     ///< the caller's file (its last part), the group's name, or the mark
};
static_assert(sizeof(Record) <= 512, "a record must fit into PIPE_BUF");

}  // namespace shardlab
