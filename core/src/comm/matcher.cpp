#include "shardlab/comm/matcher.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

#include <fmt/format.h>

#include "matcher_impl.hpp"

namespace shardlab {

namespace {

// What ranks announce can be any number: a sum that is too large for its type stays at the largest.
void AddCount(int64_t& sum, int64_t count) {
  if (__builtin_add_overflow(sum, count, &sum)) sum = std::numeric_limits<int64_t>::max();
}

}  // namespace

void Matcher::Impl::Feed(int number, const Announcement& announcement) {
  if (number < 0 || number >= static_cast<int>(ranks.size())) return;
  Rank& rank = ranks[static_cast<size_t>(number)];
  if (rank.ended() || !rank.heard) return;
  const Record& record = announcement.record;
  if (!IsBounded(number, announcement)) {
    rank.heard = false;
    return;
  }
  switch (record.kind) {
    case RecordKind::kGroup:
      FeedGroup(record);
      break;
    case RecordKind::kPost:
      FeedPost(number, announcement);
      break;
    case RecordKind::kBlock:
      if (Operation* op = Find(rank, record.id)) {
        if (record.line > 0) {  // the call that waits, where another one started it
          op->post.line = record.line;
          std::memcpy(op->post.name, record.name, sizeof record.name);
        }
        rank.threads[record.thread].blocked = op;
        op->waited = true;
        AddEvent(number, *op, record);
      }
      break;
    case RecordKind::kUnblock:
    case RecordKind::kFailed:
      FeedUnblock(number, record);
      break;
    case RecordKind::kThreadStart:
      rank.active += rank.threads[record.thread].active ? 0 : 1;
      rank.threads[record.thread].active = true;
      rank.had_helpers = true;
      AddStep(number, record.peer, {Step::Kind::kFork, nullptr, record.thread, 0});
      AddStep(number, record.thread, {Step::Kind::kStart, nullptr, 0, 0});
      break;
    case RecordKind::kThreadEnd: {
      Thread& thread = rank.threads[record.thread];
      rank.active -= thread.active ? 1 : 0;
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
      AddEvent(number, record);
      break;
    case RecordKind::kDropped:
      if (const Operation* op = Find(rank, record.id)) Dropped(*op);
      break;
  }
}

bool Matcher::Impl::IsBounded(int number, const Announcement& announcement) {
  const Rank& rank = ranks[static_cast<size_t>(number)];
  const bool new_thread = announcement.record.kind == RecordKind::kThreadStart;
  std::string excess;
  if ((new_thread && rank.active >= kMostThreads) || rank.held_up.size() > kMostThreads) {
    excess = fmt::format("{} threads at once", kMostThreads);
  } else if (announcement.record.thread >= kMostThreadsEver) {
    excess = fmt::format("{} threads, one after the other", kMostThreadsEver);
  } else if ((held += 1 + announcement.parts.size() / 8) > kMostHeld) {
    excess = "a case can, all ranks together";
  }
  if (excess.empty()) return true;
  Complain(VerdictKind::kMisuse, fmt::format("rank {} announces more than {}", number, excess));
  return false;
}

auto Matcher::Impl::Find(Rank& rank, uint64_t id) -> Operation* {
  return id >= 1 && id <= rank.operations.size() ? &rank.operations[id - 1] : nullptr;
}

void Matcher::Impl::AddEvent(int rank, const Record& record) {
  ++events_seen;
  if (events.size() < max_events) events.push_back({rank, record});
}

void Matcher::Impl::AddEvent(int rank, const Operation& op, const Record& record) {
  Record event = op.post;
  event.kind = record.kind;
  event.thread = record.thread;
  event.time_ns = record.time_ns;
  AddEvent(rank, event);
}

void Matcher::Impl::FeedGroup(const Record& record) {
  GroupInfo& group = groups[record.group];
  if (!group.members.empty()) return;
  group.name = record.name;
  for (int member = 0; member < std::min<int>(static_cast<int>(ranks.size()), kMaxAnnouncedRanks); ++member) {
    if ((record.members[member / 64] >> (member % 64)) & 1) group.members.push_back(member);
  }
}

void Matcher::Impl::FeedPost(int number, const Announcement& announcement) {
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

void Matcher::Impl::PostMessage(Operation& op) {
  Channel& channel = channels[KeyOf(op)];
  auto& side = op.post.op == OpKind::kSend ? channel.sends : channel.recvs;
  op.index = side.size();
  side.push_back(&op);
  const auto& other = channel.OtherSide(op.post.op);
  if (other.size() > op.index) CompareMessage(*channel.sends[op.index], *channel.recvs[op.index]);
}

void Matcher::Impl::PostCollective(Operation& op, GroupInfo& group) {
  Call* call = &group.forming;
  if (op.post.op != OpKind::kFormGroup) {
    op.index = group.calls_of[op.rank]++;
    if (group.calls.size() <= op.index) group.calls.resize(op.index + 1);
    call = &group.calls[op.index];
  }
  op.post.sequence = op.index;
  if (!call->posted.emplace(op.rank, &op).second) return;
  for (const auto& [rank, other] : call->posted) {
    if (rank != op.rank && !wrong) CompareCollective(*other, op, group);
  }
}

void Matcher::Impl::Count(Rank& rank, const Operation& op) {
  RankStatistics& statistics = rank.statistics;
  ++statistics.operations[static_cast<size_t>(op.post.op)];
  if (op.post.op == OpKind::kSend) {
    ++statistics.messages_sent;
    AddCount(statistics.bytes_sent, op.post.bytes_sent);
  } else if (op.post.op == OpKind::kRecv) {
    ++statistics.messages_received;
    AddCount(statistics.bytes_received, op.post.bytes_received);
  } else if (op.post.op != OpKind::kFormGroup) {
    ++statistics.collectives;
    AddCount(statistics.collective_bytes, op.post.bytes_sent);
  }
}

void Matcher::Impl::FeedUnblock(int number, const Record& record) {
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
  AddEvent(number, *op, record);
  if (record.kind == RecordKind::kFailed) {
    rank.failed = true;
  } else {
    op->finished = true;
    op->checksum_end = record.checksum;
    if (!op->unknown && !IsCollective(op->post.op)) CompareContents(*op);
    AddStep(number, record.thread, {Step::Kind::kWait, op, 0, 0});
  }
}

auto Matcher::Impl::KeyOf(const Operation& op) -> ChannelKey {
  const bool send = op.post.op == OpKind::kSend;
  return {op.post.group, send ? op.rank : op.post.peer, send ? op.post.peer : op.rank, op.post.tag};
}

auto Matcher::Impl::ChannelOf(const Operation& op) const -> const Channel& { return channels.at(KeyOf(op)); }

auto Matcher::Impl::PartnerOf(const Operation& op) const -> const Operation* {
  const auto& others = ChannelOf(op).OtherSide(op.post.op);
  return others.size() > op.index ? others[op.index] : nullptr;
}

auto Matcher::Impl::CallOf(const Operation& op) const -> const Call& {
  const GroupInfo& group = groups.at(op.post.group);
  return op.post.op == OpKind::kFormGroup ? group.forming : group.calls[op.index];
}

std::vector<int> Matcher::Impl::MissingRanks(const Operation& op) const {
  if (op.unknown) return {};
  if (!IsCollective(op.post.op)) {
    if (PartnerOf(op) != nullptr) return {};
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

std::string Matcher::Impl::GroupNameOf(const Operation& op) const {
  const auto group = groups.find(op.post.group);
  return group == groups.end() ? "" : group->second.name;
}

Matcher::Matcher(int ranks, size_t max_events) : impl_(std::make_unique<Impl>()) {
  impl_->ranks.resize(static_cast<size_t>(std::max(ranks, 0)));
  impl_->max_events = max_events;
  Impl::GroupInfo& world = impl_->groups[0];
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
  Impl::Rank& state = impl_->ranks[static_cast<size_t>(rank)];
  if (state.ended()) return;
  state.kind = RankState::Kind::kDied;
  state.how = how;
}

Verdict Matcher::Check() const {
  if (impl_->wrong) return *impl_->wrong;
  return impl_->Deadlock();
}

Verdict Matcher::Finish() const {
  Verdict verdict = Check();
  if (verdict) return verdict;
  for (const Impl::Rank& rank : impl_->ranks) {
    if (rank.kind != RankState::Kind::kReturned || rank.failed) return verdict;
  }
  verdict = impl_->Leftovers();
  return verdict ? verdict : impl_->Unsafe();
}

RankState Matcher::State(int rank) const { return impl_->State(rank); }

RankStatistics Matcher::Statistics(int rank) const {
  const Impl::Rank& state = impl_->ranks.at(static_cast<size_t>(rank));
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
    AddCount(total.bytes_sent, one.bytes_sent);
    AddCount(total.bytes_received, one.bytes_received);
    for (size_t kind = 0; kind < one.operations.size(); ++kind) total.operations[kind] += one.operations[kind];
    total.collectives += one.collectives;
    AddCount(total.collective_bytes, one.collective_bytes);
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
