#include "execution.hpp"

#include <algorithm>
#include <map>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "index.hpp"
#include "shardlab/plan/dependencies.hpp"

namespace shardlab {

namespace {

double At(const std::vector<double>& list, int stage) {
  return list.size() == 1 ? list.front() : list.at(static_cast<size_t>(stage));
}

class Runner {
 public:
  Runner(const Schedule& schedule, const CostModel& costs, const RunRules& rules)
      : schedule_(schedule),
        layout_(schedule.layout),
        costs_(costs),
        rules_(rules),
        communicates_(schedule.HasCommunication()),
        states_(schedule.ranks.size()) {
    out_.ranks.resize(schedule.ranks.size());
  }

  // Every rank goes as far as it can, again and again until none can. What becomes of a rank depends on when others
  // have done something, never on who is asked first, so the order of asking changes neither verdict nor times.
  Execution Run() {
    for (bool progress = true; progress;) {
      progress = false;
      for (int rank = 0; rank < layout_.ranks(); ++rank) {
        while (Advance(rank)) progress = true;
      }
    }
    for (int rank = 0; rank < layout_.ranks(); ++rank) {
      if (!Finished(rank)) out_.blocked.push_back(state(rank).why);
    }
    return std::move(out_);
  }

 private:
  struct RankState {
    int step = 0;
    double clock = 0;
    bool looked_up = false;  // whether `needs` are those of the entry at `step`
    std::vector<Dependency> needs;
    Blocked why;
  };

  RankState& state(int rank) { return states_[static_cast<size_t>(rank)]; }
  const std::vector<Action>& list(int rank) const { return schedule_.ranks[static_cast<size_t>(rank)]; }
  bool Finished(int rank) { return state(rank).step == static_cast<int>(list(rank).size()); }

  // Does the next entry of a rank, if it can be done.
  bool Advance(int rank) {
    if (Finished(rank)) return false;
    RankState& me = state(rank);
    const Action& action = list(rank)[static_cast<size_t>(me.step)];
    if (!me.looked_up) {
      me.needs = Dependencies(layout_, action);
      me.looked_up = true;
    }
    double begin = me.clock;
    const bool ready = action.kind == ActionKind::kReduceGradients ? CanReduce(rank, action, begin)
                       : IsSend(action.kind)                       ? CanSend(rank, action, begin)
                       : IsReceive(action.kind)                    ? true
                                                                   : CanCompute(rank, action, begin);
    if (!ready) return false;
    const double end = begin + Cost(action);
    if (IsSend(action.kind)) Start(rank, action, begin);
    done_[Key(action)] = end;
    if (IsReceive(action.kind)) Post(action, end);
    out_.ranks[static_cast<size_t>(rank)].push_back({action, begin, end});
    me.clock = end;
    me.looked_up = false;
    ++me.step;
    return true;
  }

  bool Block(int rank, Blocked::Reason reason, std::vector<Action> any_of) {
    state(rank).why = {rank, state(rank).step, reason, std::move(any_of)};
    return false;
  }

  // All dependencies are there; `begin` becomes the time when the last of them was.
  bool CanCompute(int rank, const Action& action, double& begin) {
    for (const Dependency& need : state(rank).needs) {
      const bool message = need.via == Via::kMessage;
      if (message && communicates_) {
        const Action receive = ReceiveOf(action);
        const auto arrived = arrivals_.find(Key(receive));
        if (arrived == arrivals_.end()) {
          return Block(rank, Blocked::Reason::kDependency, {SendOf(layout_, receive)});
        }
        begin = std::max(begin, arrived->second);
        continue;
      }
      auto done = done_.end();
      for (const Action& option : need.any_of) {
        if (done == done_.end()) done = done_.find(Key(option));
      }
      if (done == done_.end()) return Block(rank, Blocked::Reason::kDependency, need.any_of);
      begin = std::max(begin, done->second + (message ? MessageTime(action) : 0));
    }
    return true;
  }

  bool CanSend(int rank, const Action& action, double& begin) {
    const auto& sent = links_[LinkOf(rank, action)];
    const size_t window = static_cast<size_t>(rules_.WindowOf(action.kind));
    if (window > 0 && sent.size() < window) return true;
    // The send whose receive has to be posted: itself, or the oldest that may not be incomplete besides this one.
    const Action receive = window == 0 ? ReceiverOf(layout_, action) : sent[sent.size() - window];
    const auto posted = done_.find(Key(receive));
    if (posted == done_.end()) return Block(rank, Blocked::Reason::kSendWindow, {receive});
    begin = std::max(begin, posted->second);
    return true;
  }

  bool CanReduce(int rank, const Action& action, double& begin) {
    entered_.emplace(Key(action), begin);
    for (const Dependency& need : state(rank).needs) {
      const auto partner = entered_.find(Key(need.any_of.front()));
      if (partner == entered_.end()) return Block(rank, Blocked::Reason::kCollective, need.any_of);
      begin = std::max(begin, partner->second);
    }
    return true;
  }

  // A message is under way from the moment when both of its ends are posted.
  void Start(int rank, const Action& send, double time) {
    const Action receive = ReceiverOf(layout_, send);
    links_[LinkOf(rank, send)].push_back(receive);
    if (const auto posted = done_.find(Key(receive)); posted != done_.end()) {
      Deliver(send, receive, std::max(time, posted->second));
    }
  }
  void Post(const Action& receive, double time) {
    const Action send = SendOf(layout_, receive);
    if (const auto sent = done_.find(Key(send)); sent != done_.end()) {
      Deliver(send, receive, std::max(time, sent->second));
    }
  }
  void Deliver(const Action& send, const Action& receive, double time) {
    const double end = time + MessageTime(receive);
    arrivals_[Key(receive)] = end;
    out_.messages.push_back({send, layout_.chunk(send.chunk).rank, layout_.chunk(receive.chunk).rank, time, end});
  }

  std::tuple<int, int, ActionKind> LinkOf(int rank, const Action& send) {
    return {rank, layout_.chunk(ReceiverOf(layout_, send).chunk).rank, send.kind};
  }

  // Of the message that brings `needed`, a computation or a receive, its input: boundary s lies behind stage s.
  double MessageTime(const Action& needed) {
    const int stage = layout_.chunk(needed.chunk).stage;
    const bool forward = needed.kind == ActionKind::kForward || needed.kind == ActionKind::kReceiveForward;
    return At(costs_.message, forward ? stage - 1 : stage);
  }

  double Cost(const Action& action) {
    const int stage = layout_.chunk(action.chunk).stage;
    switch (action.kind) {
      case ActionKind::kForward:
      case ActionKind::kRecompute:
        return At(costs_.forward, stage);
      case ActionKind::kBackward:
        return At(costs_.backward_input, stage) + At(costs_.backward_weight, stage);
      case ActionKind::kBackwardInput:
        return At(costs_.backward_input, stage);
      case ActionKind::kBackwardWeight:
        return At(costs_.backward_weight, stage);
      case ActionKind::kReduceGradients:
        return At(costs_.reduce, stage);
      case ActionKind::kStep:
        return At(costs_.step, stage);
      default:
        return 0;  // to post a send or a receive
    }
  }

  const Schedule& schedule_;
  const Layout& layout_;
  const CostModel& costs_;
  const RunRules rules_;
  const bool communicates_;
  std::vector<RankState> states_;
  std::unordered_map<uint64_t, double> done_;      // when each action ended
  std::unordered_map<uint64_t, double> entered_;   // when each REDUCE_GRAD was entered
  std::unordered_map<uint64_t, double> arrivals_;  // when what each receive brings was there
  std::map<std::tuple<int, int, ActionKind>, std::vector<Action>>
      links_;  // the receives of the sends started, in order
  Execution out_;
};

}  // namespace

Execution Execute(const Schedule& schedule, const CostModel& costs, const RunRules& rules) {
  return Runner(schedule, costs, rules).Run();
}

}  // namespace shardlab
