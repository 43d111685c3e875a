#include "shardlab/plan/passes.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "index.hpp"
#include "shardlab/plan/dependencies.hpp"

namespace shardlab {

namespace {

// The action that carries a result of `action` to another rank, if there is somebody in that direction.
bool Sends(const Layout& layout, const Action& action, Action& send) {
  const Chunk& chunk = layout.chunk(action.chunk);
  if (action.kind == ActionKind::kForward) {
    send = {ActionKind::kSendForward, action.chunk, action.microbatch};
    return chunk.next >= 0 && layout.chunk(chunk.next).rank != chunk.rank;
  }
  send = {ActionKind::kSendBackward, action.chunk, action.microbatch};
  return GivesInputGradient(action.kind) && chunk.previous >= 0 && layout.chunk(chunk.previous).rank != chunk.rank;
}

void RequireNone(const Schedule& schedule, ActionKind kind) {
  for (const auto& list : schedule.ranks) {
    for (const Action& action : list) {
      if (action.kind == kind) {
        throw ScheduleError(fmt::format("{}: there is {} in it already", schedule.name, ToString(action)));
      }
    }
  }
}

}  // namespace

Schedule AddCommunication(const Schedule& schedule, int ahead) {
  if (schedule.HasCommunication()) {
    throw ScheduleError(fmt::format("{}: there are sends and receives in it already", schedule.name));
  }
  if (ahead < 0) throw ScheduleError(fmt::format("a receive cannot be posted {} computations ahead", ahead));
  const Index index(schedule);
  Schedule result = schedule;
  for (size_t rank = 0; rank < schedule.ranks.size(); ++rank) {
    const auto& list = schedule.ranks[rank];
    // Where computations begin: a pair counts as one.
    std::vector<size_t> computations;
    std::vector<std::pair<size_t, Action>> receives;  // each with the entry that it stands in front of, ascending
    for (size_t step = 0; step < list.size(); ++step) {
      const Action& action = list[step];
      if (!IsCompute(action.kind)) continue;
      if (step == 0 || !list[step - 1].opens_pair) computations.push_back(step);
      for (const Dependency& need : Dependencies(schedule.layout, action)) {
        if (need.via != Via::kMessage) continue;
        const size_t back = std::min(computations.size() - 1, static_cast<size_t>(ahead));
        receives.emplace_back(computations[computations.size() - 1 - back], ReceiveOf(action));
      }
    }
    auto& out = result.ranks[rank];
    out.clear();
    std::vector<Action> sends;
    auto receive = receives.begin();
    for (size_t step = 0; step < list.size(); ++step) {
      for (; receive != receives.end() && receive->first == step; ++receive) out.push_back(receive->second);
      out.push_back(list[step]);
      Action send;
      // Only what somebody computes with: of an incomplete schedule the rest is left as it is, for Validate to report.
      if (Sends(schedule.layout, list[step], send)) {
        const Action to = ReceiverOf(schedule.layout, send);
        const bool forward = send.kind == ActionKind::kSendForward;
        const bool wanted = forward ? index.Has({ActionKind::kForward, to.chunk, to.microbatch})
                                    : index.Has({ActionKind::kBackward, to.chunk, to.microbatch}) ||
                                          index.Has({ActionKind::kBackwardInput, to.chunk, to.microbatch});
        if (wanted) sends.push_back(send);
      }
      if (list[step].opens_pair) continue;  // nothing comes between the two
      out.insert(out.end(), sends.begin(), sends.end());
      sends.clear();
    }
  }
  return result;
}

Schedule AddRecompute(const Schedule& schedule, Recompute mode, int mini_batch) {
  RequireNone(schedule, ActionKind::kRecompute);
  if (mini_batch < 0) throw ScheduleError(fmt::format("a mini-batch does not have {} micro-batches", mini_batch));
  const int size = mini_batch == 0 ? schedule.microbatches : mini_batch;
  if (mode == Recompute::kExceptLast && schedule.microbatches % size != 0) {
    throw ScheduleError(fmt::format("{}: {} micro-batches are not whole mini-batches of {}", schedule.name,
                                    schedule.microbatches, size));
  }
  Schedule result = schedule;
  if (mode == Recompute::kNever) return result;
  for (auto& list : result.ranks) {
    std::vector<Action> out;
    for (size_t step = 0; step < list.size(); ++step) {
      const Action& action = list[step];
      const bool last = action.microbatch % size == size - 1;
      if (GivesInputGradient(action.kind) && !(last && mode == Recompute::kExceptLast)) {
        const bool second = step > 0 && list[step - 1].opens_pair;  // nothing comes between the two of a pair
        out.insert(out.end() - (second ? 1 : 0),
                   {ActionKind::kRecompute, action.chunk, action.microbatch, action.version});
      }
      out.push_back(action);
    }
    list = std::move(out);
  }
  return result;
}

Schedule AddGradientReduction(const Schedule& schedule) {
  RequireNone(schedule, ActionKind::kReduceGradients);
  Schedule result = schedule;
  for (auto& list : result.ranks) {
    std::vector<Action> out;
    for (size_t step = 0; step < list.size(); ++step) {
      const auto is_step = [&](size_t at) { return at < list.size() && list[at].kind == ActionKind::kStep; };
      // Steps that stand together come behind all their sums: the first of them clips the gradients of all chunks.
      const bool opens = is_step(step) && (step == 0 || !is_step(step - 1));
      for (size_t at = step; opens && is_step(at); ++at) {
        out.push_back({ActionKind::kReduceGradients, list[at].chunk, -1, list[at].version});
      }
      out.push_back(list[step]);
    }
    list = std::move(out);
  }
  return result;
}

Schedule ForwardOnly(const Layout& layout, int microbatches) {
  Schedule schedule("forward", layout, microbatches);
  for (int i = 0; i < microbatches; ++i) {
    for (int chunk = 0; chunk < layout.stages(); ++chunk) {
      schedule.ranks[static_cast<size_t>(layout.chunk(chunk).rank)].push_back(Action::Forward(chunk, i));
    }
  }
  return schedule;
}

}  // namespace shardlab
