// The ideal machine: rounds, and programs that came through only because a collective returned early.

#include <algorithm>

#include <fmt/format.h>

#include "matcher_impl.hpp"

namespace shardlab {

void Matcher::Impl::AddStep(int rank, int thread, const Step& step) {
  Thread& state = ranks[static_cast<size_t>(rank)].threads[thread];
  state.steps.push_back(step);
  ++state.steps_fed;
  Advance(rank, thread);
}

void Matcher::Impl::Advance(int rank, int thread) {
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
    Rank& of_rank = ranks[static_cast<size_t>(r)];
    if (state.steps.empty()) {
      of_rank.held_up.erase(t);
    } else {
      of_rank.held_up.insert(t);
    }
    // Others of this rank may wait for this thread's steps.
    if (moved && of_rank.had_helpers) {
      for (const int other : of_rank.held_up) {
        if (other != t) ready.push_back({r, other});
      }
    }
  }
}

bool Matcher::Impl::Take(int r, int t, Thread* thread, std::deque<ThreadId>* ready) {
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

void Matcher::Impl::PostOnMachine(Operation& op, int64_t clock, std::deque<ThreadId>* ready) {
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

void Matcher::Impl::Complete(Operation* op, int64_t time, std::deque<ThreadId>* ready) {
  op->complete = time;
  Rank& rank = ranks[static_cast<size_t>(op->rank)];
  rank.rounds = std::max(rank.rounds, time);
  for (const int thread : rank.held_up) ready->push_back({op->rank, thread});
}

Verdict Matcher::Impl::Unsafe() const {
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

}  // namespace shardlab
