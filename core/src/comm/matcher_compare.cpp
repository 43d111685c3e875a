// What does not fit: two sides of one operation, what was sent and what came, and what is left over at the end.

#include <algorithm>

#include <fmt/format.h>

#include "matcher_impl.hpp"

namespace shardlab {
namespace {

bool SameShape(const Record& a, const Record& b) {
  return a.dims == b.dims && std::equal(a.shape, a.shape + std::clamp(a.dims, 0, 6), b.shape);
}

const char* ReduceName(uint8_t reduce) {
  static const char* const kNames[] = {"sum", "product", "min", "max"};
  return reduce < std::size(kNames) ? kNames[reduce] : "unknown";
}

}  // namespace

void Matcher::Impl::Complain(VerdictKind kind, const std::string& sentence) {
  if (wrong) return;
  wrong.emplace();
  wrong->kind = kind;
  wrong->sentence = sentence;
  wrong->ranks = States();
}

void Matcher::Impl::CompareMessage(const Operation& send, const Operation& recv) {
  if (send.post.dtype == recv.post.dtype && SameShape(send.post, recv.post) &&
      send.post.bytes_sent == recv.post.bytes_received) {
    return;
  }
  Complain(VerdictKind::kMismatch,
           fmt::format("message {} from rank {} to rank {} with tag {} is sent as {}, {} bytes{}, but received into "
                       "{}, {} bytes{}: a "
                       "receive names the shape and dtype of what is sent",
                       send.index, send.rank, recv.rank, send.post.tag, TensorText(send.post), send.post.bytes_sent,
                       At(send.post), TensorText(recv.post), recv.post.bytes_received, At(recv.post)));
}

void Matcher::Impl::CompareCollective(const Operation& a, const Operation& b, const GroupInfo& group) {
  const Record& x = a.post;
  const Record& y = b.post;
  const std::string which = fmt::format("collective {}{}", a.index, GroupSuffix(x));
  if (x.op != y.op) {
    Complain(VerdictKind::kMismatch,
             fmt::format("{} is {} on rank {}{}, but {} on rank {}{}: every rank calls the same ones in the same order",
                         which, Name(x.op), a.rank, At(x), Name(y.op), b.rank, At(y)));
    return;
  }
  const auto differ = [&](const std::string& what, const std::string& on_a, const std::string& on_b) {
    Complain(VerdictKind::kMismatch, fmt::format("{}, {}, has {} {} on rank {}{}, but {} on rank {}{}", which,
                                                 Name(x.op), what, on_a, a.rank, At(x), on_b, b.rank, At(y)));
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

void Matcher::Impl::CompareParts(const Operation& a, const Operation& b, const GroupInfo& group,
                                 const std::string& which) {
  const auto place_a = static_cast<size_t>(a.post.group_rank);
  const auto place_b = static_cast<size_t>(b.post.group_rank);
  if (a.parts.size() != group.members.size() || b.parts.size() != group.members.size() || place_a >= b.parts.size() ||
      place_b >= a.parts.size()) {
    return;
  }
  const RecordPart& given = a.parts[place_b];
  const RecordPart& expected = b.parts[place_a];
  if (given.bytes_sent == expected.bytes_received && given.shape_sent == expected.shape_received) return;
  Complain(
      VerdictKind::kMismatch,
      fmt::format("{}, {}: rank {} gives rank {} a part of {} bytes{}, but rank {} expects one of {} bytes{}{}", which,
                  Name(a.post.op), a.rank, b.rank, given.bytes_sent, At(a.post), b.rank, expected.bytes_received,
                  given.bytes_sent == expected.bytes_received ? " and of another shape" : "", At(b.post)));
}

void Matcher::Impl::CompareContents(const Operation& completed) {
  const Operation* other = PartnerOf(completed);
  const bool sent = completed.post.op == OpKind::kSend;
  const auto differ = [](uint64_t a, uint64_t b) { return a != 0 && b != 0 && a != b; };
  if (sent && differ(completed.post.checksum, completed.checksum_end)) {
    Complain(VerdictKind::kMisuse,
             fmt::format("rank {} changed the tensor of {} before its Wait had returned: rank {} gets the old values, "
                         "the new ones or some of both; Wait first, or send a clone",
                         completed.rank, CallText(completed), completed.post.peer));
    return;
  }
  // Only a sender that has kept its side shows that it was the receiver who did not.
  if (other == nullptr || !other->finished) return;
  const Operation& send = sent ? completed : *other;
  const Operation& recv = sent ? *other : completed;
  if (differ(send.post.checksum, send.checksum_end) || !differ(send.post.checksum, recv.checksum_end)) return;
  Complain(
      VerdictKind::kMisuse,
      fmt::format("the tensor of rank {}'s {} was written to before its Wait had returned, so what rank {} sent{} "
                  "is lost: leave it alone until then, and give receives that are under way together a tensor each",
                  recv.rank, CallText(recv), send.rank, At(send.post)));
}

void Matcher::Impl::Dropped(const Operation& op) {
  if (op.waited) return;
  Complain(VerdictKind::kMisuse,
           fmt::format("rank {} threw away what {} returned and never waited for it: such a message may not travel at "
                       "all; keep the Work, and call Wait on it once",
                       op.rank, CallText(op)));
}

Verdict Matcher::Impl::Leftovers() const {
  std::vector<std::string> found;
  for (const auto& [key, channel] : channels) {
    const auto [group, from, to, tag] = key;
    for (size_t k = channel.recvs.size(); k < channel.sends.size(); ++k) {
      const Record& post = channel.sends[k]->post;
      found.push_back(fmt::format("rank {} sent rank {} a message with tag {}, {}{}, that rank {} never received{}",
                                  from, to, tag, TensorText(post), At(post), to,
                                  NearOrLastText(*channel.sends[k], to)));
    }
    for (size_t k = channel.sends.size(); k < channel.recvs.size(); ++k) {
      const Record& post = channel.recvs[k]->post;
      found.push_back(fmt::format("rank {} posted a receive from rank {} with tag {}, {}{}, that rank {} never sent{}",
                                  to, from, tag, TensorText(post), At(post), from,
                                  NearOrLastText(*channel.recvs[k], from)));
    }
  }
  for (const auto& [id, group] : groups) {
    for (const Call& call : group.calls) {
      if (call.posted.size() == group.members.size()) continue;
      const Operation& op = *call.posted.begin()->second;
      found.push_back(fmt::format("rank {} called {}{} (collective {}{}), which rank {} never called", op.rank,
                                  Name(op.post.op), At(op.post), op.index, GroupSuffix(op.post), MissingRanks(op)[0]));
    }
  }
  for (const Rank& rank : ranks) {
    for (const Operation& op : rank.operations) {
      if (op.waited) continue;
      found.push_back(
          fmt::format("rank {} never waited for {}: call Wait on what it returned, once", op.rank, CallText(op)));
    }
  }
  Verdict verdict;
  if (found.empty()) return verdict;
  verdict.kind = VerdictKind::kLeftover;
  verdict.sentence = found[0];
  if (found.size() > 1) verdict.sentence += fmt::format(" (and {} more left over)", found.size() - 1);
  verdict.ranks = States();
  return verdict;
}

}  // namespace shardlab
