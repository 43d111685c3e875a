// How a deadlock is said to a person: the cycle or the missing partner in one sentence, and one line a rank.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "matcher_impl.hpp"

namespace shardlab {

std::string Matcher::Impl::At(const Record& record) {
  return record.line > 0 ? fmt::format(" ({}:{})", record.name, record.line) : "";
}

std::string Matcher::Impl::TensorText(const Record& record) {
  return fmt::format("{} {}", DtypeName(record.dtype), ShapeText(record));
}

std::string Matcher::Impl::CallText(const Operation& op) {
  const Record& post = op.post;
  std::string text = fmt::format("I{}", Name(post.op));
  if (!IsCollective(post.op)) {
    text += fmt::format(" {} rank {}, tag {}, {}", post.op == OpKind::kSend ? "to" : "from", post.peer, post.tag,
                        TensorText(post));
  }
  return text + At(post);
}

std::string Matcher::Impl::LastCallText(int rank) const {
  const auto& operations = ranks[static_cast<size_t>(rank)].operations;
  if (operations.empty()) return fmt::format("; rank {} called nothing at all", rank);
  const Operation& last = operations.back();
  std::string text = fmt::format("; the last that rank {} called was {}", rank, Name(last.post.op));
  if (!IsCollective(last.post.op)) {
    text += fmt::format(" {} rank {} with tag {}", last.post.op == OpKind::kSend ? "to" : "from", last.post.peer,
                        last.post.tag);
  } else if (last.post.op != OpKind::kFormGroup) {
    text += fmt::format(", collective {}{}", last.index, GroupSuffix(last.post));
  }
  return text + At(last.post);
}

std::string Matcher::Impl::GroupSuffix(const Record& record) const {
  const auto group = groups.find(record.group);
  return group == groups.end() || record.group == 0 ? "" : fmt::format(" of group '{}'", group->second.name);
}

std::string Matcher::Impl::EdgeText(const Edge& edge) const {
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

auto Matcher::Impl::NearMiss(const Operation& op) const -> const Operation* {
  if (IsCollective(op.post.op)) return nullptr;
  const auto [group, from, to, tag] = KeyOf(op);
  for (const auto& [key, channel] : channels) {
    if (key == KeyOf(op) || std::get<1>(key) != from || std::get<2>(key) != to) continue;
    const auto& theirs = channel.OtherSide(op.post.op);
    if (theirs.size() > channel.Side(op.post.op).size()) return theirs[channel.Side(op.post.op).size()];
  }
  return nullptr;
}

std::string Matcher::Impl::CallersText(const Operation& op, const char* several, const char* one) const {
  std::vector<int> callers;
  for (const auto& [rank, posted] : CallOf(op).posted) callers.push_back(rank);
  if (callers.size() < 2) return fmt::format("rank {} {}", op.rank, one);
  return fmt::format("ranks {} and {} {}", fmt::join(callers.begin(), callers.end() - 1, ", "), callers.back(),
                     several);
}

std::string Matcher::Impl::NearMissText(const Operation& op) const {
  const Operation* near = NearMiss(op);
  if (near == nullptr) return "";
  const bool sent = near->post.op == OpKind::kSend;
  return fmt::format("; rank {} did {} one {} rank {} with tag {}{}{}: tag and group must be the same on both sides",
                     near->rank, sent ? "send" : "post a receive for", sent ? "to" : "from", op.rank, near->post.tag,
                     GroupSuffix(near->post), At(near->post));
}

std::string Matcher::Impl::NearOrLastText(const Operation& op, int partner) const {
  const std::string near = NearMissText(op);
  return near.empty() ? LastCallText(partner) : near;
}

std::string Matcher::Impl::MissingPartnerSentence(const Edge& edge) const {
  const Operation& op = *edge.op;
  const Rank& partner = ranks[static_cast<size_t>(edge.to)];
  const std::string end = fmt::format(
      "but rank {} {}", edge.to,
      partner.kind == RankState::Kind::kDied ? fmt::format("has died ({})", partner.how) : std::string("has returned"));
  const std::string last = NearOrLastText(op, edge.to);
  switch (op.post.op) {
    case OpKind::kSend:
      return fmt::format("rank {} sends to rank {} with tag {}{}, {} without receiving it{}", op.rank, edge.to,
                         op.post.tag, At(op.post), end, last);
    case OpKind::kRecv:
      return fmt::format("rank {} waits for a message from rank {} with tag {}{}, {} without sending it{}", op.rank,
                         edge.to, op.post.tag, At(op.post), end, last);
    case OpKind::kFormGroup:
      return fmt::format(
          "{} the group '{}'{}, {} without calling for it: every rank makes every group, in the same order{}",
          CallersText(op, "form", "forms"), groups.at(op.post.group).name, At(op.post), end, last);
    default:
      return fmt::format(
          "{} in {}{} (collective {}{}), {} without calling it: every rank of the group calls every collective{}",
          CallersText(op, "are", "is"), Name(op.post.op), At(op.post), op.index, GroupSuffix(op.post), end, last);
  }
}

std::string Matcher::Impl::CycleSentence(const std::vector<Edge>& cycle) const {
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
        "{}: {} for a message that would be sent after the receive, or that nobody sends at all; start the sends "
        "before "
        "the receives (ISend), or order the calls by parity",
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

RankState Matcher::Impl::State(int r) const {
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

std::vector<RankState> Matcher::Impl::States() const {
  std::vector<RankState> states;
  for (size_t r = 0; r < ranks.size(); ++r) states.push_back(State(static_cast<int>(r)));
  return states;
}

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
        constexpr size_t kMost = 4;
        for (size_t i = 0; i < state.operations.size(); ++i) {
          if (i == kMost) {
            text += fmt::format("; and in {} more", state.operations.size() - kMost);
            break;
          }
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

}  // namespace shardlab
