#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

/// \file
/// What a rank announces before it acts. A record goes down the rank's own pipe with one write before the call that it
/// announces reaches Gloo; nobody answers. Whoever reads all pipes knows what every rank waits for.

namespace shardlab {

/// The operations of a Communicator.
enum class OpKind : uint8_t {
  kSend,           ///< ISend, Send
  kRecv,           ///< IRecv, Recv
  kAllReduce,      ///< AllReduce
  kAllGather,      ///< AllGather
  kReduceScatter,  ///< ReduceScatter
  kBroadcast,      ///< Broadcast
  kAllToAll,       ///< AllToAll
  kBarrier,        ///< Barrier
  kFormGroup  ///< the members of a new group find each other: complete when all of them have called Subgroup or Split
};

/// How many kinds of operation there are.
inline constexpr int kOpKinds = 9;

/// What a person calls it: "Send", "AllReduce", "forming the group".
const char* Name(OpKind kind);
/// Whether every rank of the group calls it.
inline bool IsCollective(OpKind kind) { return kind != OpKind::kSend && kind != OpKind::kRecv; }

/// What a record says.
enum class RecordKind : uint8_t {
  kGroup,        ///< this rank belongs to group `group`, whose members are `members`
  kPost,         ///< operation `id` is about to be started
  kBlock,        ///< this thread is about to wait for operation `id`
  kUnblock,      ///< operation `id` is complete and its thread goes on; id 0: the helper thread waited for is done
  kFailed,       ///< operation `id` ended with an error (the time limit, say) and its thread goes on
  kThreadStart,  ///< thread `peer` gave helper thread `thread` work: it takes part
  kThreadEnd,    ///< it is done, until the next kThreadStart
  kJoin,         ///< this thread is about to wait for helper thread `peer` of the same rank to be done
  kMark,         ///< a moment that a case wants to see in the order of events; `name` says which
  kReturn,       ///< the rank's body returned
  kDropped       ///< what operation `id` returned was destroyed, and nobody had waited for it
};

/// One announcement. Plain data, smaller than PIPE_BUF, so that a write of it is never torn. Only the first `size`
/// bytes travel: of a block (unless it names a line) or an unblock those up to `checksum`; of a collective with a tensor a rank (all-gather,
/// reduce-scatter, all-to-all) the record and a RecordPart for each rank of the group.
struct Record {
  uint16_t size = 0;                    ///< bytes as written, parts included
  RecordKind kind = RecordKind::kMark;  ///< what is announced
  OpKind op = OpKind::kBarrier;         ///< which operation
  uint16_t thread = 0;                  ///< 0 is the rank's main thread
  uint8_t dtype = 0;                    ///< c10::ScalarType
  uint8_t reduce = 0;                   ///< ReduceOp
  int64_t time_ns = 0;                  ///< CLOCK_MONOTONIC
  uint64_t id = 0;                      ///< numbers this rank's operations: 1, 2, ...
  /// Of the message's bytes: when a send is posted, when it is complete, and of what was received. 0: not known.
  uint64_t checksum = 0;
  int32_t peer = -1;           ///< world rank of the other side, or of the root
  int32_t tag = 0;             ///< of a point-to-point message
  uint32_t line = 0;           ///< of the caller; of a kBlock 0 where it waits at the line that posted
  int32_t dims = 0;            ///< number of dimensions of the (first) tensor; at most 6 of them are in `shape`
  int32_t group_rank = 0;      ///< this rank's number in the group
  uint64_t group = 0;          ///< the group's id
  uint64_t sequence = 0;       ///< collectives: the how-manieth of this group on this rank, from 0
  int64_t bytes_sent = 0;      ///< bytes this rank hands over (of all tensors; 0 for a receive)
  int64_t bytes_received = 0;  ///< bytes this rank is to get
  int64_t shape[6] = {0, 0, 0, 0, 0, 0};  ///< of the (first) tensor
  uint64_t members[2] = {0, 0};           ///< kGroup: a bit for each world rank
  char name[64] = "";                     ///< the caller's file (its last part), the group's name, or the mark
};

/// Ranks that a group's `members` has room for, and so the largest world that can be announced.
inline constexpr int kMaxAnnouncedRanks = 128;

/// What a rank gives to and expects of one rank of the group in a collective with a tensor a rank.
struct RecordPart {
  int64_t bytes_sent = 0;       ///< given
  int64_t bytes_received = 0;   ///< expected
  uint32_t shape_sent = 0;      ///< a hash of the shape given
  uint32_t shape_received = 0;  ///< a hash of the shape expected
};
static_assert(sizeof(Record) + kMaxAnnouncedRanks * sizeof(RecordPart) <= 4096,
              "a record must fit into PIPE_BUF, else the writes of two threads could mix");

/// A record as its reader gets it; what did not travel is zero.
struct Announcement {
  Record record;                  ///< its fixed part
  std::vector<RecordPart> parts;  ///< one for each rank of the group, where there are any
};

/// Reads announcements from a pipe whose reading end does not block (O_NONBLOCK).
class AnnouncementReader {
 public:
  /// Does not own `fd`.
  explicit AnnouncementReader(int fd) : fd_(fd) {}

  /// Hands on what the pipe holds now (4 MiB at most) and returns: true while a writer is left, false at the end.
  /// \throws CommError when what was read is no announcement (whoever writes may be broken or hostile).
  bool Drain(const std::function<void(const Announcement&)>& hand_on);

 private:
  int fd_;
  std::vector<char> unread_;
};

/// "float32", "int64", ...: the name of a c10::ScalarType.
const char* DtypeName(uint8_t dtype);

/// "[2, 3]"; of more than six dimensions the first six and "...".
std::string ShapeText(const Record& record);

/// What is announced, for a person: "Recv from rank 3, tag 2, float32 [2, 3], at ring.cpp:31".
std::string Describe(const Record& record, const std::string& group_name);

}  // namespace shardlab
