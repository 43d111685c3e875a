#include "shardlab/plan/dependencies.hpp"

#include <initializer_list>

#include <fmt/format.h>

#include "shardlab/plan/schedule_error.hpp"

namespace shardlab {

Few<Dependency, 3> Dependencies(const Layout& layout, const Action& action) {
  if (!layout.Has(action.chunk)) {
    throw ScheduleError(fmt::format("{}: there is no chunk {} in the layout '{}', which has {}", ToString(action),
                                    action.chunk, ToString(layout), layout.chunks()));
  }
  const Chunk& chunk = layout.chunk(action.chunk);
  const int i = action.microbatch;
  Few<Dependency, 3> needs;
  const auto need = [&](Via via, const Action& what) {
    Dependency one;
    one.any_of.push_back(what);
    one.via = via;
    needs.push_back(one);
  };
  const auto from = [&](int other, std::initializer_list<ActionKind> kinds) {
    Dependency one;
    for (const ActionKind kind : kinds) one.any_of.push_back({kind, other, i});
    one.via = layout.chunk(other).rank == chunk.rank ? Via::kMemory : Via::kMessage;
    needs.push_back(one);
  };
  const auto own = [&](std::initializer_list<ActionKind> kinds) { from(action.chunk, kinds); };

  switch (action.kind) {
    case ActionKind::kForward:
      if (chunk.previous >= 0) from(chunk.previous, {ActionKind::kForward});  // (1)
      break;
    case ActionKind::kBackward:
    case ActionKind::kBackwardInput:
      own({ActionKind::kForward});                                                                 // (2)
      if (chunk.next >= 0) from(chunk.next, {ActionKind::kBackward, ActionKind::kBackwardInput});  // (3)
      break;
    case ActionKind::kBackwardWeight:
      own({ActionKind::kBackwardInput});  // (4)
      break;
    case ActionKind::kRecompute:
    case ActionKind::kSendForward:
      own({ActionKind::kForward});
      break;
    case ActionKind::kSendBackward:
      own({ActionKind::kBackward, ActionKind::kBackwardInput});
      break;
    case ActionKind::kReceiveForward:
    case ActionKind::kReceiveBackward:
      need(Via::kMessage, SendOf(layout, action));
      break;
    case ActionKind::kReduceGradients:
      for (const int twin : layout.TwinsOf(action.chunk)) {
        if (layout.chunk(twin).rank == chunk.rank) continue;  // the middle one of an odd number
        need(Via::kCollective, {ActionKind::kReduceGradients, twin, -1, action.version});
      }
      break;
    case ActionKind::kStep:
      for (const int twin : layout.TwinsOf(action.chunk)) {
        if (layout.chunk(twin).rank != chunk.rank) continue;
        need(Via::kMemory, {ActionKind::kReduceGradients, twin, -1, action.version});
      }
      break;
  }
  if (IsCompute(action.kind) && action.version > 0) {
    need(Via::kMemory, {ActionKind::kStep, action.chunk, -1, action.version});
  }
  return needs;
}

Action ReceiveOf(const Action& action) {
  const bool forward = action.kind == ActionKind::kForward;
  return {forward ? ActionKind::kReceiveForward : ActionKind::kReceiveBackward, action.chunk, action.microbatch};
}

Action SendOf(const Layout& layout, const Action& receive) {
  const bool forward = receive.kind == ActionKind::kReceiveForward;
  const int other = forward ? layout.chunk(receive.chunk).previous : layout.chunk(receive.chunk).next;
  if (other < 0) {
    throw ScheduleError(fmt::format("{}: chunk {} is the {} one and has nobody to receive from", ToString(receive),
                                    receive.chunk, forward ? "first" : "last"));
  }
  return {forward ? ActionKind::kSendForward : ActionKind::kSendBackward, other, receive.microbatch};
}

Action ReceiverOf(const Layout& layout, const Action& send) {
  const bool forward = send.kind == ActionKind::kSendForward;
  const int other = forward ? layout.chunk(send.chunk).next : layout.chunk(send.chunk).previous;
  if (other < 0) {
    throw ScheduleError(fmt::format("{}: chunk {} is the {} one and has nobody to send to", ToString(send), send.chunk,
                                    forward ? "last" : "first"));
  }
  return {forward ? ActionKind::kReceiveForward : ActionKind::kReceiveBackward, other, send.microbatch};
}

}  // namespace shardlab
