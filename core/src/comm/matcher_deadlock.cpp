// The ranks that can never go on, and what each of them waits for.

#include <algorithm>

#include <fmt/format.h>

#include "matcher_impl.hpp"

namespace shardlab {

auto Matcher::Impl::FindHopeless() const -> Hopeless {
  // All that wait are taken for hopeless; whoever turns out to have hope gives it to those who wait for it. So each is
  // looked at once for each that it waits for.
  struct Hope {
    bool joining = false;
    int missing = 0;  // ranks that cannot post their side
  };
  std::map<ThreadId, Hope> waiting;
  std::vector<int> free(ranks.size());  // active threads of each rank that are not hopeless
  for (size_t r = 0; r < ranks.size(); ++r) {
    if (ranks[r].ended()) continue;
    for (const auto& [number, thread] : ranks[r].threads) {
      if (!thread.active) continue;
      const bool blocked = thread.blocked != nullptr && !MissingRanks(*thread.blocked).empty();
      if (thread.joining >= 0 || blocked) {
        waiting[{static_cast<int>(r), number}].joining = thread.joining >= 0;
      } else {
        ++free[r];
      }
    }
  }
  const auto cannot_post = [&](int r) {
    return ranks[static_cast<size_t>(r)].ended() || free[static_cast<size_t>(r)] == 0;
  };
  std::vector<ThreadId> hopeful;
  std::map<ThreadId, std::vector<ThreadId>> joined_by;
  std::map<int, std::vector<ThreadId>> waited_for_by;  // a rank that cannot post
  for (auto& [id, hope] : waiting) {
    const Thread& thread = ranks[static_cast<size_t>(id.first)].threads.at(id.second);
    if (hope.joining) {
      const ThreadId joined{id.first, thread.joining};
      joined_by[joined].push_back(id);
      if (waiting.count(joined) == 0) hopeful.push_back(id);
      continue;
    }
    for (const int missing : MissingRanks(*thread.blocked)) {
      if (!cannot_post(missing)) continue;
      ++hope.missing;
      waited_for_by[missing].push_back(id);
    }
    if (hope.missing == 0) hopeful.push_back(id);
  }
  while (!hopeful.empty()) {
    const ThreadId id = hopeful.back();
    hopeful.pop_back();
    if (waiting.erase(id) == 0) continue;
    const auto joiners = joined_by.find(id);
    if (joiners != joined_by.end()) hopeful.insert(hopeful.end(), joiners->second.begin(), joiners->second.end());
    if (++free[static_cast<size_t>(id.first)] > 1) continue;
    for (const ThreadId& other : waited_for_by[id.first]) {
      const auto found = waiting.find(other);
      if (found != waiting.end() && --found->second.missing == 0) hopeful.push_back(other);
    }
  }
  Hopeless hopeless;
  for (const auto& [id, hope] : waiting) hopeless.threads.insert(hopeless.threads.end(), id);
  for (size_t r = 0; r < ranks.size(); ++r) hopeless.ranks.push_back(!ranks[r].ended() && free[r] == 0);
  return hopeless;
}

auto Matcher::Impl::EdgeOf(const Hopeless& stuck, int r) const -> Edge {
  for (const auto& [number, thread] : ranks[static_cast<size_t>(r)].threads) {
    if (stuck.threads.count({r, number}) == 0 || thread.blocked == nullptr || thread.joining >= 0) continue;
    for (const int missing : MissingRanks(*thread.blocked)) {
      const auto rank = static_cast<size_t>(missing);
      if (ranks[rank].ended() || stuck.ranks[rank]) return {thread.blocked, missing};
    }
  }
  return {};
}

auto Matcher::Impl::PathFrom(const Hopeless& stuck, int rank) const -> std::vector<Edge> {
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
  const Hopeless stuck = FindHopeless();
  const auto found = std::find(stuck.ranks.begin(), stuck.ranks.end(), true);
  if (found == stuck.ranks.end()) return verdict;
  const auto first = static_cast<int>(found - stuck.ranks.begin());

  const std::vector<Edge> path = PathFrom(stuck, first);
  const bool cycle = !path.empty() && !ranks[static_cast<size_t>(path.back().to)].ended();
  verdict.kind = VerdictKind::kDeadlock;
  verdict.ranks = States();
  for (const auto& [waiting, number] : stuck.threads) {
    const Thread& thread = ranks[static_cast<size_t>(waiting)].threads.at(number);
    if (thread.blocked == nullptr || thread.joining >= 0 || !stuck.ranks[static_cast<size_t>(waiting)]) continue;
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
