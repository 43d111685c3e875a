#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "shardlab/comm/matcher.hpp"

namespace shardlab {

// Two readings of the same records.
//
// (1) What is true now. Channels and calls hold what has been posted; a thread is blocked from its kBlock to its
//     kUnblock. From that: mismatches, deadlocks, leftovers.
//
// (2) What would happen on an ideal machine. Each thread's posts and waits are steps, taken in their order; a wait is
//     passed only when every side of the operation has been posted *on this machine*. Every thread has a clock that
//     counts rounds: a message posted at 3 is of round 4, and whoever has waited for it, on either side, has a clock of
//     at least 4. From that: rounds, and programs that came through only because a collective returned early.
//
// Where it is done: matcher.cpp takes records in and pairs what belongs together; matcher_compare.cpp says what does
// not fit; matcher_deadlock.cpp finds the ranks that can never go on; matcher_sentences.cpp says so; matcher_rounds.cpp
// is the ideal machine.
struct Matcher::Impl {
  struct Operation {
    Record post;
    std::vector<RecordPart> parts;
    int rank = 0;
    size_t index = 0;      // the k-th of its channel's side, the n-th call of its group
    bool unknown = false;  // of a group that was never announced: taken as matched
    bool waited = false;
    bool finished = false;      // its wait came to a good end
    uint64_t checksum_end = 0;  // of the message's bytes then
    // On the ideal machine:
    bool posted = false;
    int64_t clock = 0;      // its thread's when it was posted
    int64_t complete = -1;  // its round, once every side has been posted; -1: not yet
  };

  // The messages from one rank to another with one tag.
  struct Channel {
    std::vector<Operation*> sends, recvs;
    const std::vector<Operation*>& Side(OpKind kind) const { return kind == OpKind::kSend ? sends : recvs; }
    const std::vector<Operation*>& OtherSide(OpKind kind) const { return kind == OpKind::kSend ? recvs : sends; }
  };
  using ChannelKey = std::tuple<uint64_t, int, int, int>;  // group, from, to, tag

  // One call of a collective: what each member of the group posted for it.
  struct Call {
    std::map<int, Operation*> posted;  // by world rank
    size_t posted_on_machine = 0;
    int64_t clock = 0;
  };

  struct GroupInfo {
    std::string name;
    std::vector<int> members;  // world ranks, ascending
    std::vector<Call> calls;
    Call forming;
    std::map<int, size_t> calls_of;  // how many calls each rank has posted
  };

  // A step of the ideal machine.
  struct Step {
    enum class Kind { kPost, kWait, kFork, kStart, kJoined } kind = Kind::kPost;
    Operation* operation = nullptr;
    int thread = 0;    // forked, or joined
    size_t after = 0;  // joined: the other thread has taken so many steps
  };

  struct Thread {
    bool active = false;
    Operation* blocked = nullptr;
    int joining = -1;
    // On the ideal machine:
    std::deque<Step> steps;
    size_t steps_fed = 0;
    size_t steps_taken = 0;
    std::deque<int64_t> started_at;
    int64_t clock = 0;
  };

  struct Rank {
    RankState::Kind kind = RankState::Kind::kRunning;
    std::string how;
    std::deque<Operation> operations;
    std::map<int, Thread> threads;
    std::set<int> held_up;  // threads of the ideal machine that have a step to take and cannot yet
    int active = 1;         // threads
    bool had_helpers = false;
    bool heard = true;    // false: what it announces is beyond all bounds and no longer looked at
    bool failed = false;  // an operation ended with an error
    RankStatistics statistics;
    int64_t rounds = 0;

    bool ended() const { return kind == RankState::Kind::kReturned || kind == RankState::Kind::kDied; }
  };

  using ThreadId = std::pair<int, int>;  // rank, thread

  // What can never go on.
  struct Hopeless {
    std::set<ThreadId> threads;
    std::vector<bool> ranks;  // that have not ended, and all of whose active threads are in the set
  };

  // What a rank may announce. The work for a record, and for a look at all of them, grows with the threads of a rank; the
  // memory with the records.
  static constexpr int kMostThreads = 256;        // at once, as many as a rank may have
  static constexpr int kMostThreadsEver = 4096;   // one after the other
  static constexpr size_t kMostHeld = 4'000'000;  // records of all ranks, one with parts counting for more

  // One edge of the wait-for graph.
  struct Edge {
    const Operation* op = nullptr;
    int to = 0;
  };

  std::vector<Rank> ranks;
  std::map<uint64_t, GroupInfo> groups;
  std::map<ChannelKey, Channel> channels;
  std::optional<Verdict> wrong;  // the first mismatch or misuse
  std::vector<TimelineEvent> events;
  size_t held = 0;
  size_t max_events = 0;
  size_t events_seen = 0;

  // (matcher.cpp) What was posted, and what belongs together.
  void Feed(int number, const Announcement& announcement);
  // Whether the rank keeps within bounds; else that is what is wrong, and it is not heard any more.
  bool IsBounded(int number, const Announcement& announcement);
  static Operation* Find(Rank& rank, uint64_t id);
  void AddEvent(int rank, const Record& record);
  // What became of an operation, with the description that only its post carries.
  void AddEvent(int rank, const Operation& op, const Record& record);
  void FeedGroup(const Record& record);
  void FeedPost(int number, const Announcement& announcement);
  void PostMessage(Operation& op);
  void PostCollective(Operation& op, GroupInfo& group);
  static void Count(Rank& rank, const Operation& op);
  void FeedUnblock(int number, const Record& record);
  static ChannelKey KeyOf(const Operation& op);
  const Channel& ChannelOf(const Operation& op) const;
  const Call& CallOf(const Operation& op) const;
  Call& CallOf(const Operation& op) { return const_cast<Call&>(std::as_const(*this).CallOf(op)); }
  // The other side of a message, or null while it has not been posted.
  const Operation* PartnerOf(const Operation& op) const;
  // The ranks that have yet to post their side of `op`.
  std::vector<int> MissingRanks(const Operation& op) const;
  std::string GroupNameOf(const Operation& op) const;

  // (matcher_compare.cpp) What does not fit.
  void Complain(VerdictKind kind, const std::string& sentence);
  void CompareMessage(const Operation& send, const Operation& recv);
  void CompareCollective(const Operation& a, const Operation& b, const GroupInfo& group);
  // What `a` gives to `b` is what `b` expects of `a`.
  void CompareParts(const Operation& a, const Operation& b, const GroupInfo& group, const std::string& which);
  // What was sent is what was received, once both sides are complete.
  void CompareContents(const Operation& completed);
  // What it returned was destroyed before anybody waited for it.
  void Dropped(const Operation& op);
  Verdict Leftovers() const;

  // (matcher_deadlock.cpp) Who can never go on.
  // The threads that can never go on: the largest set in which each waits for a rank that has ended or is, with every
  // thread that takes part, in the set.
  Hopeless FindHopeless() const;
  // What a hopeless rank waits for: its first thread that is in an operation, and a rank that can never post the rest.
  Edge EdgeOf(const Hopeless& stuck, int r) const;
  // From a hopeless rank along the edges: to a rank that has ended, or around a cycle. The last edge leads there.
  std::vector<Edge> PathFrom(const Hopeless& stuck, int rank) const;
  Verdict Deadlock() const;

  // (matcher_sentences.cpp) How to say it.
  static std::string At(const Record& record);
  static std::string TensorText(const Record& record);
  // "ISend to rank 1, tag 5, float32 [4] (ring.cpp:12)".
  static std::string CallText(const Operation& op);
  // "ranks 0, 1 and 3 are": the ranks that have called a collective.
  std::string CallersText(const Operation& op, const char* several, const char* one) const;
  // "; the last that rank 2 called was Barrier (collective 3) (ring.cpp:12)".
  std::string LastCallText(int rank) const;
  std::string GroupSuffix(const Record& record) const;
  std::string EdgeText(const Edge& edge) const;
  // A message between the same two ranks that found no partner, because its tag or group is another.
  const Operation* NearMiss(const Operation& op) const;
  std::string NearMissText(const Operation& op) const;
  // The one or the other: what `partner` did where its side of `op` was to be.
  std::string NearOrLastText(const Operation& op, int partner) const;
  std::string MissingPartnerSentence(const Edge& edge) const;
  std::string CycleSentence(const std::vector<Edge>& cycle) const;
  RankState State(int r) const;
  std::vector<RankState> States() const;

  // (matcher_rounds.cpp) The ideal machine.
  void AddStep(int rank, int thread, const Step& step);
  // Takes all steps that can be taken, beginning with those of one thread.
  void Advance(int rank, int thread);
  bool Take(int r, int t, Thread* thread, std::deque<ThreadId>* ready);
  void PostOnMachine(Operation& op, int64_t clock, std::deque<ThreadId>* ready);
  void Complete(Operation* op, int64_t time, std::deque<ThreadId>* ready);
  // A thread whose records went on while the ideal machine could not.
  Verdict Unsafe() const;
};

}  // namespace shardlab
