#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "shardlab/comm/record.hpp"

/// \file
/// Reads what all ranks announce and says what it adds up to: who waits for whom, what does not match, what it cost.

namespace shardlab {

/// What the matcher found.
enum class VerdictKind : uint8_t {
  kNone,      ///< nothing wrong so far
  kDeadlock,  ///< ranks that can never go on
  kMismatch,  ///< two sides of one operation that do not fit: shape, dtype, bytes, order, root
  kMisuse,    ///< a tensor changed while it was under way, work that was thrown away and never waited for
  kUnsafe,    ///< the run came through, but only because a collective returned before all ranks had called it
  kLeftover   ///< a message nobody received, a collective that some rank never called, work nobody waited for
};

/// One rank in an explanation.
struct RankState {
  /// What a rank can be doing.
  enum class Kind : uint8_t {
    kRunning,   ///< computing, or in an operation that can complete
    kBlocked,   ///< every thread that takes part waits
    kReturned,  ///< its body returned
    kDied       ///< its process ended before its body returned
  };

  int rank = 0;                ///< of the world
  Kind kind = Kind::kRunning;  ///< what it is doing
  /// What its threads are blocked in, the main thread's first. (What it did last, for a rank that a mismatch names.)
  std::vector<Record> operations;
  /// The names of the operations' groups, in the same order.
  std::vector<std::string> groups;
  /// How it died.
  std::string how;
};

/// An arrow, or several, of the wait-for graph: what one thread of a rank waits for.
struct WaitFor {
  int rank = 0;              ///< who waits
  Record operation;          ///< in what
  std::string group;         ///< the name of the operation's group
  std::vector<int> missing;  ///< the ranks that have not posted their side
  bool in_cycle = false;     ///< whether this is part of the cycle that the sentence names
};

/// A verdict, as data and as text.
struct Verdict {
  VerdictKind kind = VerdictKind::kNone;  ///< what was found
  /// What is wrong and what would help: "rank 0 sends to rank 1 and rank 1 sends to rank 0: ...".
  std::string sentence;
  /// One for each rank.
  std::vector<RankState> ranks;
  /// Of a deadlock: what every rank that can never go on waits for.
  std::vector<WaitFor> waits;

  /// Whether anything is wrong.
  explicit operator bool() const { return kind != VerdictKind::kNone; }
  /// The sentence, then one line a rank.
  std::string Text() const;
};

/// What one rank announced, in numbers.
struct RankStatistics {
  int64_t messages_sent = 0;      ///< point-to-point
  int64_t messages_received = 0;  ///< point-to-point
  int64_t bytes_sent = 0;         ///< of the point-to-point messages
  int64_t bytes_received = 0;     ///< of the point-to-point messages
  /// Calls by kind; `collectives[OpKind::kBarrier]` is the number of barriers.
  std::array<int64_t, kOpKinds> operations{};
  int64_t collectives = 0;       ///< calls of collectives, forming groups not counted
  int64_t collective_bytes = 0;  ///< bytes handed to those
  /// The longest chain of messages that ends at this rank, each sent after the one before had been waited for, by who
  /// received it or by who sent it. Messages that are under way together are one round, whatever their number; a
  /// blocking Send after another is a round more. A collective is one round after all that any of its ranks waited for.
  int64_t rounds = 0;
};

/// A record that a timeline shows, with its rank. Posts and marks are whole; a block or its end has the post's text.
struct TimelineEvent {
  int rank = 0;   ///< whose it is
  Record record;  ///< what happened
};

/// Matches the k-th send with the k-th receive of (group, from, to, tag), and the n-th collective of a group.
///
/// Records of one rank are fed in the order in which they were written; those of different ranks in any order. The
/// verdict on a deadlock is exact although the ranks run on: a rank that waits for a partner that is not posted writes
/// nothing until the partner posts, so it does not matter when each rank was read.
class Matcher {
 public:
  /// \param ranks of the world.
  /// \param max_events how many events are kept for timelines; further ones are only counted.
  explicit Matcher(int ranks, size_t max_events = 200'000);
  ~Matcher();
  Matcher(const Matcher&) = delete;
  Matcher& operator=(const Matcher&) = delete;

  /// Takes the next record of `rank`. Nonsense (a hostile rank) is ignored.
  void Feed(int rank, const Announcement& announcement);
  /// The same, for a record without parts.
  void Feed(int rank, const Record& record) { Feed(rank, Announcement{record, {}}); }
  /// The process of `rank` is gone; `how` says how ("SIGSEGV"). After its kReturn record this changes nothing.
  void Died(int rank, const std::string& how);

  /// What is wrong so far: the first mismatch, else a deadlock if there is one now. A set of ranks is in a deadlock
  /// when each of them is blocked, with every thread that takes part, in an operation that one of the others, or a rank
  /// that has ended, would have to post. Other ranks may still be running.
  Verdict Check() const;
  /// The same after all ranks have ended, and what is left over. Leftovers are no news when a rank died.
  Verdict Finish() const;

  /// What `rank` is doing, for explanations of any kind.
  RankState State(int rank) const;

  /// \name Figures
  ///@{
  /// Of one rank.
  RankStatistics Statistics(int rank) const;
  /// Sums over all ranks; `rounds` is the largest.
  RankStatistics Total() const;
  /// Posts, blocks, ends of operations (unblock, failed), marks and returns, by time.
  std::vector<TimelineEvent> Events() const;
  /// How many events there were, kept or not.
  size_t events_seen() const;
  ///@}

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace shardlab
