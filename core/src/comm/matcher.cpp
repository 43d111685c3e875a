#include "shardlab/comm/matcher.hpp"

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace shardlab {
namespace {

// Two readings of the same records.
//
// (1) What is true now. Channels and calls hold what has been posted; a thread is blocked from its kBlock to its
//     kUnblock. From that: mismatches, deadlocks, leftovers.
//
// (2) What would happen on an ideal machine. Each thread's posts and waits are steps, taken in their order; a wait is
//     passed only when every side of the operation has been posted *on this machine*. Every thread has a clock that
//     counts rounds: a message posted at 3 is of round 4, and whoever has waited for it, on either side, has a clock of
//     at least
//     4. From that: rounds, and programs that came through only because a collective returned early.

struct Operation {
  Record post;
  std::vector<RecordPart> parts;
  int rank = 0;
  size_t index = 0;      // the k-th of its channel's side, the n-th call of its group
  bool unknown = false;  // of a group that was never announced: taken as matched
  bool waited = false;
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
  bool had_helpers = false;
  bool failed = false;  // an operation ended with an error
  RankStatistics statistics;
  int64_t rounds = 0;

  bool ended() const { return kind == RankState::Kind::kReturned || kind == RankState::Kind::kDied; }
};

std::string At(const Record& record) {
  return record.line > 0 ? fmt::format(" ({}:{})", record.name, record.line) : "";
}

bool SameShape(const Record& a, const Record& b) {
  return a.dims == b.dims && std::equal(a.shape, a.shape + std::clamp(a.dims, 0, 6), b.shape);
}

std::string TensorText(const Record& record) {
  return fmt::format("{} {}", DtypeName(record.dtype), ShapeText(record));
}

const char* ReduceName(uint8_t reduce) {
  static const char* const kNames[] = {"sum", "product", "min", "max"};
  return reduce < std::size(kNames) ? kNames[reduce] : "unknown";
}

}  // namespace

struct Matcher::Impl {
  std::vector<Rank> ranks;
  std::map<uint64_t, GroupInfo> groups;
  std::map<ChannelKey, Channel> channels;
  std::optional<Verdict> mismatch;
  std::vector<TimelineEvent> events;
  size_t max_events = 0;
  size_t events_seen = 0;

  // ---------------------------------------------------------------------------------------------- (1) what is true now

  static ChannelKey KeyOf(const Operation& op) {
    const bool send = op.post.op == OpKind::kSend;
    return {op.post.group, send ? op.rank : op.post.peer, send ? op.post.peer : op.rank, op.post.tag};
  }

  const Channel& ChannelOf(const Operation& op) const { return channels.at(KeyOf(op)); }

  const Call& CallOf(const Operation& op) const {
    const GroupInfo& group = groups.at(op.post.group);
    return op.post.op == OpKind::kFormGroup ? group.forming : group.calls[op.index];
  }
  Call& CallOf(const Operation& op) { return const_cast<Call&>(std::as_const(*this).CallOf(op)); }

  // The ranks that have yet to post their side of `op`.
  std::vector<int> MissingRanks(const Operation& op) const {
    if (op.unknown) return {};
    if (!IsCollective(op.post.op)) {
      if (ChannelOf(op).OtherSide(op.post.op).size() > op.index) return {};
      return {op.post.peer};
    }
    const Call& call = CallOf(op);
    std::vector<int> missing;
    const GroupInfo& group = groups.at(op.post.group);
    if (call.posted.size() >= group.members.size()) return missing;
    for (const int member : group.members) {
      if (call.posted.count(member) == 0) missing.push_back(member);
    }
    return missing;
  }

  void Feed(int number, const Announcement& announcement) {
    if (number < 0 || number >= static_cast<int>(ranks.size())) return;
    Rank& rank = ranks[static_cast<size_t>(number)];
    if (rank.ended()) return;
    const Record& record = announcement.record;
    switch (record.kind) {
      case RecordKind::kGroup:
        FeedGroup(record);
        break;
      case RecordKind::kPost:
        FeedPost(number, announcement);
        break;
      case RecordKind::kBlock:
        if (Operation* op = Find(rank, record.id)) {
          rank.threads[record.thread].blocked = op;
          op->waited = true;
        }
        break;
      case RecordKind::kUnblock:
      case RecordKind::kFailed:
        FeedUnblock(number, record);
        break;
      case RecordKind::kThreadStart:
        rank.threads[record.thread].active = true;
        rank.had_helpers = true;
        AddStep(number, record.peer, {Step::Kind::kFork, nullptr, record.thread, 0});
        AddStep(number, record.thread, {Step::Kind::kStart, nullptr, 0, 0});
        break;
      case RecordKind::kThreadEnd: {
        Thread& thread = rank.threads[record.thread];
        thread.active = false;
        thread.blocked = nullptr;
        break;
      }
      case RecordKind::kJoin:
        rank.threads[record.thread].joining = record.peer;
        break;
      case RecordKind::kMark:
        AddEvent(number, record);
        break;
      case RecordKind::kReturn:
        rank.kind = RankState::Kind::kReturned;
        break;
      case RecordKind::kDropped:
        if (const Operation* op = Find(rank, record.id)) {
          if (!op->waited) {
            Complain(VerdictKind::kMisuse,
                     fmt::format("rank {} threw away what {} returned, without waiting for it: what was not waited for "
                                 "may never travel; keep the Work and call Wait on it, once",
                                 number, CallText(*op)));
          }
        }
        break;
    }
  }

  static Operation* Find(Rank& rank, uint64_t id) {
    return id >= 1 && id <= rank.operations.size() ? &rank.operations[id - 1] : nullptr;
  }

  void AddEvent(int rank, const Record& record) {
    ++events_seen;
    if (events.size() < max_events) events.push_back({rank, record});
  }

  void FeedGroup(const Record& record) {
    GroupInfo& group = groups[record.group];
    if (!group.members.empty()) return;
    group.name = record.name;
    for (int member = 0; member < std::min<int>(static_cast<int>(ranks.size()), kMaxAnnouncedRanks); ++member) {
      if ((record.members[member / 64] >> (member % 64)) & 1) group.members.push_back(member);
    }
  }

  void FeedPost(int number, const Announcement& announcement) {
    Rank& rank = ranks[static_cast<size_t>(number)];
    if (announcement.record.id != rank.operations.size() + 1) return;
    rank.operations.emplace_back();
    Operation& op = rank.operations.back();
    op.post = announcement.record;
    op.parts = announcement.parts;
    op.rank = number;

    const auto group = groups.find(op.post.group);
    const bool peer_exists = op.post.peer >= 0 && op.post.peer < static_cast<int>(ranks.size());
    const bool needs_peer = !IsCollective(op.post.op) || op.post.op == OpKind::kBroadcast;
    op.unknown = group == groups.end() || group->second.members.empty() || static_cast<int>(op.post.op) >= kOpKinds ||
                 (needs_peer && !peer_exists) ||
                 !std::binary_search(group->second.members.begin(), group->second.members.end(), number);
    if (!op.unknown) {
      if (IsCollective(op.post.op)) {
        PostCollective(op, group->second);
      } else {
        PostMessage(op);
      }
      Count(rank, op);
    }
    AddEvent(number, op.post);
    AddStep(number, op.post.thread, {Step::Kind::kPost, &op, 0, 0});
  }

  void PostMessage(Operation& op) {
    Channel& channel = channels[KeyOf(op)];
    auto& side = op.post.op == OpKind::kSend ? channel.sends : channel.recvs;
    op.index = side.size();
    side.push_back(&op);
    const auto& other = channel.OtherSide(op.post.op);
    if (other.size() > op.index) CompareMessage(*channel.sends[op.index], *channel.recvs[op.index]);
  }

  void PostCollective(Operation& op, GroupInfo& group) {
    Call* call = &group.forming;
    if (op.post.op != OpKind::kFormGroup) {
      op.index = group.calls_of[op.rank]++;
      if (group.calls.size() <= op.index) group.calls.resize(op.index + 1);
      call = &group.calls[op.index];
    }
    op.post.sequence = op.index;
    if (!call->posted.emplace(op.rank, &op).second) return;
    for (const auto& [rank, other] : call->posted) {
      if (rank != op.rank && !mismatch) CompareCollective(*other, op, group);
    }
  }

  static void Count(Rank& rank, const Operation& op) {
    RankStatistics& statistics = rank.statistics;
    ++statistics.operations[static_cast<size_t>(op.post.op)];
    if (op.post.op == OpKind::kSend) {
      ++statistics.messages_sent;
      statistics.bytes_sent += op.post.bytes_sent;
    } else if (op.post.op == OpKind::kRecv) {
      ++statistics.messages_received;
      statistics.bytes_received += op.post.bytes_received;
    } else if (op.post.op != OpKind::kFormGroup) {
      ++statistics.collectives;
      statistics.collective_bytes += op.post.bytes_sent;
    }
  }

  void FeedUnblock(int number, const Record& record) {
    Rank& rank = ranks[static_cast<size_t>(number)];
    Thread& thread = rank.threads[record.thread];
    if (record.id == 0) {
      const int joined = thread.joining;
      thread.joining = -1;
      if (joined >= 0 && rank.threads.count(joined) > 0) {
        AddStep(number, record.thread, {Step::Kind::kJoined, nullptr, joined, rank.threads[joined].steps_fed});
      }
      return;
    }
    Operation* op = Find(rank, record.id);
    if (op == nullptr) return;
    thread.blocked = nullptr;
    op->waited = true;
    Record event = op->post;
    event.kind = record.kind;
    event.thread = record.thread;
    event.time_ns = record.time_ns;
    AddEvent(number, event);
    if (record.kind == RecordKind::kFailed) {
      rank.failed = true;
    } else {
      AddStep(number, record.thread, {Step::Kind::kWait, op, 0, 0});
    }
  }

  // ------------------------------------------------------------------------------------------------------- mismatches

  std::string GroupSuffix(const Record& record) const {
    const auto group = groups.find(record.group);
    return group == groups.end() || record.group == 0 ? "" : fmt::format(" of group '{}'", group->second.name);
  }

  void Mismatch(const std::string& sentence) { Complain(VerdictKind::kMismatch, sentence); }

  void Complain(VerdictKind kind, const std::string& sentence) {
    if (mismatch) return;
    mismatch.emplace();
    mismatch->kind = kind;
    mismatch->sentence = sentence;
    mismatch->ranks = States();
  }

  // "ISend to rank 1, tag 5 (ring.cpp:12)".
  static std::string CallText(const Operation& op) {
    const Record& post = op.post;
    std::string text = fmt::format("I{}", Name(post.op));
    if (!IsCollective(post.op)) {
      text += fmt::format(" {} rank {}, tag {}", post.op == OpKind::kSend ? "to" : "from", post.peer, post.tag);
    }
    return text + At(post);
  }

  void CompareMessage(const Operation& send, const Operation& recv) {
    if (send.post.dtype == recv.post.dtype && SameShape(send.post, recv.post) &&
        send.post.bytes_sent == recv.post.bytes_received) {
      return;
    }
    Mismatch(fmt::format(
        "message {} from rank {} to rank {} with tag {} is sent as {}, {} bytes{}, but received into {}, {} bytes{}: a "
        "receive names the shape and dtype of what is sent",
        send.index, send.rank, recv.rank, send.post.tag, TensorText(send.post), send.post.bytes_sent, At(send.post),
        TensorText(recv.post), recv.post.bytes_received, At(recv.post)));
  }

  void CompareCollective(const Operation& a, const Operation& b, const GroupInfo& group) {
    const Record& x = a.post;
    const Record& y = b.post;
    const std::string which = fmt::format("collective {}{}", a.index, GroupSuffix(x));
    if (x.op != y.op) {
      Mismatch(
          fmt::format("{} is {} on rank {}{}, but {} on rank {}{}: every rank calls the same ones in the same order",
                      which, Name(x.op), a.rank, At(x), Name(y.op), b.rank, At(y)));
      return;
    }
    const auto differ = [&](const std::string& what, const std::string& on_a, const std::string& on_b) {
      Mismatch(fmt::format("{}, {}, has {} {} on rank {}{}, but {} on rank {}{}", which, Name(x.op), what, on_a, a.rank,
                           At(x), on_b, b.rank, At(y)));
    };
    const bool has_tensors = x.op != OpKind::kBarrier && x.op != OpKind::kFormGroup;
    if (has_tensors && x.dtype != y.dtype) {
      differ("dtype", DtypeName(x.dtype), DtypeName(y.dtype));
    } else if (x.op == OpKind::kBroadcast && x.peer != y.peer) {
      differ("root", std::to_string(x.peer), std::to_string(y.peer));
    } else if (x.op == OpKind::kAllReduce && x.reduce != y.reduce) {
      differ("the reduction", ReduceName(x.reduce), ReduceName(y.reduce));
    } else if ((x.op == OpKind::kAllReduce || x.op == OpKind::kBroadcast) && !SameShape(x, y)) {
      differ("shape", ShapeText(x), ShapeText(y));
    } else if (!a.parts.empty() && !b.parts.empty()) {
      CompareParts(a, b, group, which);
      CompareParts(b, a, group, which);
    }
  }

  // What `a` gives to `b` is what `b` expects of `a`.
  void CompareParts(const Operation& a, const Operation& b, const GroupInfo& group, const std::string& which) {
    const auto place_a = static_cast<size_t>(a.post.group_rank);
    const auto place_b = static_cast<size_t>(b.post.group_rank);
    if (a.parts.size() != group.members.size() || b.parts.size() != group.members.size() || place_a >= b.parts.size() ||
        place_b >= a.parts.size()) {
      return;
    }
    const RecordPart& given = a.parts[place_b];
    const RecordPart& expected = b.parts[place_a];
    if (given.bytes_sent == expected.bytes_received && given.shape_sent == expected.shape_received) return;
    Mismatch(fmt::format("{}, {}: rank {} gives rank {} a part of {} bytes{}, but rank {} expects one of {} bytes{}{}",
                         which, Name(a.post.op), a.rank, b.rank, given.bytes_sent, At(a.post), b.rank,
                         expected.bytes_received,
                         given.bytes_sent == expected.bytes_received ? " and of another shape" : "", At(b.post)));
  }

  // -------------------------------------------------------------------------------------------------------- deadlocks

  using ThreadId = std::pair<int, int>;  // rank, thread

  // The threads that can never go on: the largest set in which each waits for a rank that has ended or is, with every
  // thread that takes part, in the set.
  std::set<ThreadId> HopelessThreads() const {
    std::set<ThreadId> stuck;
    for (size_t r = 0; r < ranks.size(); ++r) {
      if (ranks[r].ended()) continue;
      for (const auto& [number, thread] : ranks[r].threads) {
        if (!thread.active) continue;
        if (thread.joining >= 0 || (thread.blocked != nullptr && !MissingRanks(*thread.blocked).empty())) {
          stuck.insert({static_cast<int>(r), number});
        }
      }
    }
    const auto rank_cannot_post = [&](int r) { return ranks[static_cast<size_t>(r)].ended() || RankStuck(stuck, r); };
    for (bool changed = true; changed;) {
      changed = false;
      for (auto it = stuck.begin(); it != stuck.end();) {
        const Thread& thread = ranks[static_cast<size_t>(it->first)].threads.at(it->second);
        bool hopeless = false;
        if (thread.joining >= 0) {
          hopeless = stuck.count({it->first, thread.joining}) > 0;
        } else {
          for (const int missing : MissingRanks(*thread.blocked)) hopeless = hopeless || rank_cannot_post(missing);
        }
        if (hopeless) {
          ++it;
        } else {
          it = stuck.erase(it);
          changed = true;
        }
      }
    }
    return stuck;
  }

  bool RankStuck(const std::set<ThreadId>& stuck, int r) const {
    for (const auto& [number, thread] : ranks[static_cast<size_t>(r)].threads) {
      if (thread.active && stuck.count({r, number}) == 0) return false;
    }
    return true;
  }

  // One edge of the wait-for graph.
  struct Edge {
    const Operation* op = nullptr;
    int to = 0;
  };

  // What a hopeless rank waits for: its first thread that is in an operation, and a rank that can never post the rest.
  Edge EdgeOf(const std::set<ThreadId>& stuck, int r) const {
    for (const auto& [number, thread] : ranks[static_cast<size_t>(r)].threads) {
      if (stuck.count({r, number}) == 0 || thread.blocked == nullptr || thread.joining >= 0) continue;
      for (const int missing : MissingRanks(*thread.blocked)) {
        if (ranks[static_cast<size_t>(missing)].ended() || RankStuck(stuck, missing)) return {thread.blocked, missing};
      }
    }
    return {};
  }

  std::string EdgeText(const Edge& edge) const {
    const Operation& op = *edge.op;
    const std::string suffix = GroupSuffix(op.post);
    switch (op.post.op) {
      case OpKind::kSend:
        return fmt::format("rank {} sends to {} (tag {}{})", op.rank, edge.to, op.post.tag, suffix);
      case OpKind::kRecv:
        return fmt::format("rank {} receives from {} (tag {}{})", op.rank, edge.to, op.post.tag, suffix);
      case OpKind::kFormGroup:
        return fmt::format("rank {} forms the group '{}', which {} does not call for", op.rank,
                           groups.at(op.post.group).name, edge.to);
      default:
        return fmt::format("rank {} is in {} (collective {}{}), which {} has not called", op.rank, Name(op.post.op),
                           op.index, suffix, edge.to);
    }
  }

  std::string GroupNameOf(const Operation& op) const {
    const auto group = groups.find(op.post.group);
    return group == groups.end() ? "" : group->second.name;
  }

  // A message between the same two ranks that found no partner, because its tag or group is another.
  const Operation* NearMiss(const Operation& op) const {
    if (IsCollective(op.post.op)) return nullptr;
    const auto [group, from, to, tag] = KeyOf(op);
    for (const auto& [key, channel] : channels) {
      if (key == KeyOf(op) || std::get<1>(key) != from || std::get<2>(key) != to) continue;
      const auto& theirs = channel.OtherSide(op.post.op);
      if (theirs.size() > channel.Side(op.post.op).size()) return theirs[channel.Side(op.post.op).size()];
    }
    return nullptr;
  }

  std::string NearMissText(const Operation& op) const {
    const Operation* near = NearMiss(op);
    if (near == nullptr) return "";
    const bool sent = near->post.op == OpKind::kSend;
    return fmt::format("; rank {} did {} one {} rank {} with tag {}{}{}: tag and group must be the same on both sides",
                       near->rank, sent ? "send" : "post a receive for", sent ? "to" : "from", op.rank, near->post.tag,
                       GroupSuffix(near->post), At(near->post));
  }

  std::string MissingPartnerSentence(const Edge& edge) const {
    const Operation& op = *edge.op;
    const Rank& partner = ranks[static_cast<size_t>(edge.to)];
    const std::string end = partner.kind == RankState::Kind::kDied ? fmt::format("has died ({})", partner.how)
                                                                   : std::string("has returned");
    switch (op.post.op) {
      case OpKind::kSend:
        return fmt::format("rank {} sends to rank {} with tag {}{}, but rank {} {} without receiving it{}", op.rank,
                           edge.to, op.post.tag, At(op.post), edge.to, end, NearMissText(op));
      case OpKind::kRecv:
        return fmt::format(
            "rank {} waits for a message from rank {} with tag {}{}, but rank {} {} without sending it{}", op.rank,
            edge.to, op.post.tag, At(op.post), edge.to, end, NearMissText(op));
      case OpKind::kFormGroup:
        return fmt::format(
            "rank {} forms the group '{}'{}, but rank {} {} without calling for it: every rank makes every "
            "group, in the same order",
            op.rank, groups.at(op.post.group).name, At(op.post), edge.to, end);
      default:
        return fmt::format(
            "rank {} is in {}{} (collective {}{}), but rank {} {} without calling it: every rank of the "
            "group calls every collective",
            op.rank, Name(op.post.op), At(op.post), op.index, GroupSuffix(op.post), edge.to, end);
    }
  }

  std::string CycleSentence(const std::vector<Edge>& cycle) const {
    std::vector<std::string> texts;
    bool sends = true, recvs = true, collectives = true;
    for (const Edge& edge : cycle) {
      texts.push_back(EdgeText(edge));
      sends = sends && edge.op->post.op == OpKind::kSend;
      recvs = recvs && edge.op->post.op == OpKind::kRecv;
      collectives = collectives && IsCollective(edge.op->post.op);
    }
    const std::string chain = fmt::format("{}", fmt::join(texts, ", "));
    for (const Edge& edge : cycle) {
      const Operation* near = NearMiss(*edge.op);
      if (near != nullptr) return chain + NearMissText(*edge.op);
    }
    const char* each = cycle.size() == 2 ? "both wait" : "each waits";
    if (sends) {
      return fmt::format(
          "{}: {} for a receive that comes after the send; post the receives first (IRecv), or order the "
          "calls by parity",
          chain, each);
    }
    if (recvs) {
      return fmt::format(
          "{}: {} for a message that would be sent after the receive; start the sends before the receives "
          "(ISend), or order the calls by parity",
          chain, each);
    }
    if (collectives) {
      return fmt::format("{}: {} for the other to call the same; every rank calls the collectives in the same order",
                         chain, each);
    }
    return fmt::format(
        "{}: {} for a call that the next makes only later; one of them must make its calls in another order", chain,
        each);
  }

  Verdict Deadlock() const {
    Verdict verdict;
    const std::set<ThreadId> stuck = HopelessThreads();
    int first = -1;
    for (size_t r = 0; r < ranks.size() && first < 0; ++r) {
      if (!ranks[r].ended() && RankStuck(stuck, static_cast<int>(r))) first = static_cast<int>(r);
    }
    if (first < 0) return verdict;

    // From the first hopeless rank along the edges: to a rank that has ended, or around a cycle.
    std::vector<Edge> path;
    std::vector<int> visited;
    int r = first;
    while (true) {
      const Edge edge = EdgeOf(stuck, r);
      if (edge.op == nullptr) break;
      visited.push_back(r);
      path.push_back(edge);
      r = edge.to;
      if (ranks[static_cast<size_t>(r)].ended()) break;
      const auto seen = std::find(visited.begin(), visited.end(), r);
      if (seen != visited.end()) {
        path.erase(path.begin(), path.begin() + (seen - visited.begin()));
        break;
      }
    }
    verdict.kind = VerdictKind::kDeadlock;
    verdict.ranks = States();
    const bool ends = !path.empty() && ranks[static_cast<size_t>(r)].ended();
    for (const auto& [waiting, number] : stuck) {
      const Thread& thread = ranks[static_cast<size_t>(waiting)].threads.at(number);
      if (thread.blocked == nullptr || thread.joining >= 0 || !RankStuck(stuck, waiting)) continue;
      const bool in_path = std::any_of(path.begin(), path.end(),
                                       [&, blocked = thread.blocked](const Edge& edge) { return edge.op == blocked; });
      verdict.waits.push_back({waiting, thread.blocked->post, GroupNameOf(*thread.blocked),
                               MissingRanks(*thread.blocked), in_path && !ends});
    }
    if (path.empty()) {
      verdict.sentence = fmt::format("rank {} waits for a helper thread that never ends", first);
    } else if (ranks[static_cast<size_t>(r)].ended()) {
      verdict.sentence = MissingPartnerSentence(path.back());
    } else {
      verdict.sentence = CycleSentence(path);
    }
    return verdict;
  }

  // -------------------------------------------------------------------------------------------------------- leftovers

  Verdict Leftovers() const {
    std::vector<std::string> found;
    for (const auto& [key, channel] : channels) {
      const auto [group, from, to, tag] = key;
      for (size_t k = channel.recvs.size(); k < channel.sends.size(); ++k) {
        const Record& post = channel.sends[k]->post;
        found.push_back(fmt::format("rank {} sent rank {} a message with tag {}, {}{}, that rank {} never received",
                                    from, to, tag, TensorText(post), At(post), to));
      }
      for (size_t k = channel.sends.size(); k < channel.recvs.size(); ++k) {
        const Record& post = channel.recvs[k]->post;
        found.push_back(fmt::format("rank {} posted a receive from rank {} with tag {}, {}{}, that rank {} never sent",
                                    to, from, tag, TensorText(post), At(post), from));
      }
    }
    for (const auto& [id, group] : groups) {
      for (const Call& call : group.calls) {
        if (call.posted.size() == group.members.size()) continue;
        const Operation& op = *call.posted.begin()->second;
        found.push_back(fmt::format("rank {} called {}{} (collective {}{}), which rank {} never called", op.rank,
                                    Name(op.post.op), At(op.post), op.index, GroupSuffix(op.post),
                                    MissingRanks(op)[0]));
      }
    }
    for (const Rank& rank : ranks) {
      for (const Operation& op : rank.operations) {
        if (op.waited) continue;
        const bool message = !IsCollective(op.post.op);
        found.push_back(
            fmt::format("rank {} started {}{}{} and never waited for it: call Wait on what it returned, once", op.rank,
                        Name(op.post.op),
                        message ? fmt::format(" {} rank {}, tag {}", op.post.op == OpKind::kSend ? "to" : "from",
                                              op.post.peer, op.post.tag)
                                : "",
                        At(op.post)));
      }
    }
    Verdict verdict;
    if (found.empty()) return verdict;
    verdict.kind = VerdictKind::kLeftover;
    verdict.sentence = found[0];
    if (found.size() > 1) verdict.sentence += fmt::format(" (and {} more like this)", found.size() - 1);
    verdict.ranks = States();
    return verdict;
  }

  // ---------------------------------------------------------------------------------------------- (2) the ideal
  // machine

  void AddStep(int rank, int thread, const Step& step) {
    Thread& state = ranks[static_cast<size_t>(rank)].threads[thread];
    state.steps.push_back(step);
    ++state.steps_fed;
    Advance(rank, thread);
  }

  // Takes all steps that can be taken, beginning with those of one thread.
  void Advance(int rank, int thread) {
    std::deque<ThreadId> ready{{rank, thread}};
    while (!ready.empty()) {
      const auto [r, t] = ready.front();
      ready.pop_front();
      Thread& state = ranks[static_cast<size_t>(r)].threads[t];
      bool moved = false;
      while (!state.steps.empty() && Take(r, t, &state, &ready)) {
        state.steps.pop_front();
        ++state.steps_taken;
        moved = true;
      }
      // Others of this rank may wait for this thread's steps.
      if (moved && ranks[static_cast<size_t>(r)].had_helpers) {
        for (const auto& [other, unused] : ranks[static_cast<size_t>(r)].threads) {
          if (other != t) ready.push_back({r, other});
        }
      }
    }
  }

  bool Take(int r, int t, Thread* thread, std::deque<ThreadId>* ready) {
    const Step step = thread->steps.front();
    Rank& rank = ranks[static_cast<size_t>(r)];
    switch (step.kind) {
      case Step::Kind::kPost:
        PostOnMachine(*step.operation, thread->clock, ready);
        return true;
      case Step::Kind::kWait:
        if (step.operation->complete < 0) return false;
        thread->clock = std::max(thread->clock, step.operation->complete);
        return true;
      case Step::Kind::kFork:
        rank.threads[step.thread].started_at.push_back(thread->clock);
        return true;
      case Step::Kind::kStart:
        if (thread->started_at.empty()) return false;
        thread->clock = std::max(thread->clock, thread->started_at.front());
        thread->started_at.pop_front();
        return true;
      case Step::Kind::kJoined: {
        if (step.thread == t) return true;
        const Thread& other = rank.threads[step.thread];
        if (other.steps_taken < step.after) return false;
        thread->clock = std::max(thread->clock, other.clock);
        return true;
      }
    }
    return true;
  }

  void PostOnMachine(Operation& op, int64_t clock, std::deque<ThreadId>* ready) {
    op.posted = true;
    op.clock = clock;
    if (op.unknown) {
      op.complete = clock;
      return;
    }
    if (!IsCollective(op.post.op)) {
      const auto& others = ChannelOf(op).OtherSide(op.post.op);
      if (others.size() <= op.index || !others[op.index]->posted) return;
      Operation& other = *others[op.index];
      const Operation& send = op.post.op == OpKind::kSend ? op : other;
      for (Operation* side : {&op, &other}) Complete(side, send.clock + 1, ready);
      return;
    }
    Call& call = CallOf(op);
    const auto posted = call.posted.find(op.rank);
    if (posted == call.posted.end() || posted->second != &op) {  // formed twice: nonsense
      op.complete = clock;
      return;
    }
    call.clock = std::max(call.clock, clock);
    if (++call.posted_on_machine < groups.at(op.post.group).members.size()) return;
    const int64_t unit = op.post.op == OpKind::kFormGroup ? 0 : 1;
    for (auto& [rank, side] : call.posted) Complete(side, call.clock + unit, ready);
  }

  void Complete(Operation* op, int64_t time, std::deque<ThreadId>* ready) {
    op->complete = time;
    Rank& rank = ranks[static_cast<size_t>(op->rank)];
    rank.rounds = std::max(rank.rounds, time);
    for (const auto& [number, thread] : rank.threads) ready->push_back({op->rank, number});
  }

  // A thread whose records went on while the ideal machine could not.
  Verdict Unsafe() const {
    Verdict verdict;
    for (size_t r = 0; r < ranks.size(); ++r) {
      for (const auto& [number, thread] : ranks[r].threads) {
        if (thread.steps.empty() || thread.steps.front().kind != Step::Kind::kWait) continue;
        const Operation& op = *thread.steps.front().operation;
        if (!IsCollective(op.post.op)) continue;
        for (const auto& [rank, other] : CallOf(op).posted) {
          if (other->posted) continue;
          verdict.kind = VerdictKind::kUnsafe;
          verdict.sentence = fmt::format(
              "rank {} went on from {}{} (collective {}{}) before rank {} had called it, and rank {} called it only "
              "because "
              "of what rank {} did then: this came through by luck, and waits forever where the collective waits for "
              "all",
              r, Name(op.post.op), At(op.post), op.index, GroupSuffix(op.post), rank, rank, r);
          verdict.ranks = States();
          return verdict;
        }
      }
    }
    return verdict;
  }

  // ------------------------------------------------------------------------------------------------------------ states

  RankState State(int r) const {
    const Rank& rank = ranks[static_cast<size_t>(r)];
    RankState state;
    state.rank = r;
    state.kind = rank.kind;
    state.how = rank.how;
    if (rank.ended()) return state;
    const auto add = [&](const Operation& op) {
      state.operations.push_back(op.post);
      const auto group = groups.find(op.post.group);
      state.groups.push_back(group == groups.end() ? "" : group->second.name);
    };
    bool all_blocked = true;
    for (const auto& [number, thread] : rank.threads) {
      if (!thread.active) continue;
      if (thread.blocked != nullptr) {
        add(*thread.blocked);
      } else if (thread.joining < 0) {
        all_blocked = false;
      }
    }
    if (all_blocked && !state.operations.empty()) {
      state.kind = RankState::Kind::kBlocked;
    } else if (state.operations.empty() && !rank.operations.empty()) {
      add(rank.operations.back());  // what it did last
    }
    return state;
  }

  std::vector<RankState> States() const {
    std::vector<RankState> states;
    for (size_t r = 0; r < ranks.size(); ++r) states.push_back(State(static_cast<int>(r)));
    return states;
  }
};

std::string Verdict::Text() const {
  std::string text = sentence;
  for (const RankState& state : ranks) {
    text += fmt::format("\n  rank {}: ", state.rank);
    switch (state.kind) {
      case RankState::Kind::kReturned:
        text += "returned";
        break;
      case RankState::Kind::kDied:
        text += fmt::format("died ({})", state.how);
        break;
      case RankState::Kind::kRunning:
      case RankState::Kind::kBlocked: {
        const bool blocked = state.kind == RankState::Kind::kBlocked;
        text += blocked ? "waits in " : "runs";
        for (size_t i = 0; i < state.operations.size(); ++i) {
          if (i > 0) {
            text += "; and in ";
          } else if (!blocked) {
            text += ", last seen in ";
          }
          text += Describe(state.operations[i], state.groups[i]);
        }
      }
    }
  }
  return text;
}

Matcher::Matcher(int ranks, size_t max_events) : impl_(std::make_unique<Impl>()) {
  impl_->ranks.resize(static_cast<size_t>(std::max(ranks, 0)));
  impl_->max_events = max_events;
  GroupInfo& world = impl_->groups[0];
  world.name = "world";
  for (int r = 0; r < ranks; ++r) {
    world.members.push_back(r);
    impl_->ranks[static_cast<size_t>(r)].threads[0].active = true;
  }
}

Matcher::~Matcher() = default;

void Matcher::Feed(int rank, const Announcement& announcement) { impl_->Feed(rank, announcement); }

void Matcher::Died(int rank, const std::string& how) {
  if (rank < 0 || rank >= static_cast<int>(impl_->ranks.size())) return;
  Rank& state = impl_->ranks[static_cast<size_t>(rank)];
  if (state.ended()) return;
  state.kind = RankState::Kind::kDied;
  state.how = how;
}

Verdict Matcher::Check() const {
  if (impl_->mismatch) return *impl_->mismatch;
  return impl_->Deadlock();
}

Verdict Matcher::Finish() const {
  Verdict verdict = Check();
  if (verdict) return verdict;
  for (const Rank& rank : impl_->ranks) {
    if (rank.kind != RankState::Kind::kReturned || rank.failed) return verdict;
  }
  verdict = impl_->Leftovers();
  return verdict ? verdict : impl_->Unsafe();
}

RankState Matcher::State(int rank) const { return impl_->State(rank); }

RankStatistics Matcher::Statistics(int rank) const {
  const Rank& state = impl_->ranks.at(static_cast<size_t>(rank));
  RankStatistics statistics = state.statistics;
  statistics.rounds = state.rounds;
  return statistics;
}

RankStatistics Matcher::Total() const {
  RankStatistics total;
  for (size_t r = 0; r < impl_->ranks.size(); ++r) {
    const RankStatistics one = Statistics(static_cast<int>(r));
    total.messages_sent += one.messages_sent;
    total.messages_received += one.messages_received;
    total.bytes_sent += one.bytes_sent;
    total.bytes_received += one.bytes_received;
    for (size_t kind = 0; kind < one.operations.size(); ++kind) total.operations[kind] += one.operations[kind];
    total.collectives += one.collectives;
    total.collective_bytes += one.collective_bytes;
    total.rounds = std::max(total.rounds, one.rounds);
  }
  return total;
}

std::vector<TimelineEvent> Matcher::Events() const {
  std::vector<TimelineEvent> sorted = impl_->events;
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const TimelineEvent& a, const TimelineEvent& b) { return a.record.time_ns < b.record.time_ns; });
  return sorted;
}

size_t Matcher::events_seen() const { return impl_->events_seen; }

}  // namespace shardlab
