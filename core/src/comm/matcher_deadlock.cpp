// The ranks that can never go on, and what each of them waits for.

#include <algorithm>

#include <fmt/format.h>

#include "matcher_impl.hpp"

namespace shardlab {

auto Matcher::Impl::HopelessThreads() const -> std::set<ThreadId> {
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

bool Matcher::Impl::RankStuck(const std::set<ThreadId>& stuck, int r) const {
  for (const auto& [number, thread] : ranks[static_cast<size_t>(r)].threads) {
    if (thread.active && stuck.count({r, number}) == 0) return false;
  }
  return true;
}

auto Matcher::Impl::EdgeOf(const std::set<ThreadId>& stuck, int r) const -> Edge {
  for (const auto& [number, thread] : ranks[static_cast<size_t>(r)].threads) {
    if (stuck.count({r, number}) == 0 || thread.blocked == nullptr || thread.joining >= 0) continue;
    for (const int missing : MissingRanks(*thread.blocked)) {
      if (ranks[static_cast<size_t>(missing)].ended() || RankStuck(stuck, missing)) return {thread.blocked, missing};
    }
  }
  return {};
}

auto Matcher::Impl::PathFrom(const std::set<ThreadId>& stuck, int rank) const -> std::vector<Edge> {
  std::vector<Edge> path;
  std::vector<int> visited;
  for (;;) {
    const Edge edge = EdgeOf(stuck, rank);
    if (edge.op == nullptr) return path;
    visited.push_back(rank);
    path.push_back(edge);
    rank = edge.to;
    if (ranks[static_cast<size_t>(rank)].ended()) return path;
    const auto seen = std::find(visited.begin(), visited.end(), rank);
    if (seen != visited.end()) {
      path.erase(path.begin(), path.begin() + (seen - visited.begin()));
      return path;
    }
  }
}

Verdict Matcher::Impl::Deadlock() const {
  Verdict verdict;
  const std::set<ThreadId> stuck = HopelessThreads();
  int first = -1;
  for (size_t r = 0; r < ranks.size() && first < 0; ++r) {
    if (!ranks[r].ended() && RankStuck(stuck, static_cast<int>(r))) first = static_cast<int>(r);
  }
  if (first < 0) return verdict;

  const std::vector<Edge> path = PathFrom(stuck, first);
  const bool cycle = !path.empty() && !ranks[static_cast<size_t>(path.back().to)].ended();
  verdict.kind = VerdictKind::kDeadlock;
  verdict.ranks = States();
  for (const auto& [waiting, number] : stuck) {
    const Thread& thread = ranks[static_cast<size_t>(waiting)].threads.at(number);
    if (thread.blocked == nullptr || thread.joining >= 0 || !RankStuck(stuck, waiting)) continue;
    const bool on_path = std::any_of(path.begin(), path.end(),
                                     [&, blocked = thread.blocked](const Edge& edge) { return edge.op == blocked; });
    verdict.waits.push_back(
        {waiting, thread.blocked->post, GroupNameOf(*thread.blocked), MissingRanks(*thread.blocked), on_path && cycle});
  }
  if (path.empty()) {
    verdict.sentence = fmt::format("rank {} waits for a helper thread that never ends", first);
  } else {
    verdict.sentence = cycle ? CycleSentence(path) : MissingPartnerSentence(path.back());
  }
  return verdict;
}

}  // namespace shardlab
