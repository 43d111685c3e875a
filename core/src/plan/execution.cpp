#include "execution.hpp"

#include <algorithm>
#include <deque>
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
  Runner(const Schedule& schedule, const CostModel& costs, const RunRules& rules, bool record)
      : schedule_(schedule),
        layout_(schedule.layout),
        costs_(costs),
        rules_(rules),
        record_(record),
        communicates_(schedule.HasCommunication()),
        states_(schedule.ranks.size()),
        done_(layout_, schedule.microbatches, kNotYet),
        arrivals_(layout_, schedule.microbatches, kNotYet) {
    if (!record_) return;
    out_.ranks.resize(schedule.ranks.size());
    for (size_t rank = 0; rank < schedule.ranks.size(); ++rank) out_.ranks[rank].reserve(schedule.ranks[rank].size());
  }

  // Every rank goes as far as it can; one that waits is asked again when what it waits for has happened. What becomes of
  // a rank depends on when others have done something, never on who is asked first, so the order of asking changes
  // neither verdict nor times.
  Execution Run() {
    for (int rank = 0; rank < layout_.ranks(); ++rank) ready_.push_back(rank);
    while (!ready_.empty()) {
      const int rank = ready_.front();
      ready_.pop_front();
      while (Advance(rank)) {
      }
    }
    for (int rank = 0; rank < layout_.ranks(); ++rank) {
      if (!Finished(rank)) out_.blocked.push_back(state(rank).why);
    }
    return std::move(out_);
  }

 private:
  static constexpr double kNotYet = -1;

  struct RankState {
    int step = 0;
    double clock = 0;
    Blocked why;
  };

  RankState& state(int rank) { return states_[static_cast<size_t>(rank)]; }
  const std::vector<Action>& list(int rank) const { return schedule_.ranks[static_cast<size_t>(rank)]; }
  bool Finished(int rank) { return state(rank).step == static_cast<int>(list(rank).size()); }

  // Does the next entry of a rank, or the next pair, if it can be done.
  bool Advance(int rank) {
    if (Finished(rank)) return false;
    RankState& me = state(rank);
    const Action* const first = &list(rank)[static_cast<size_t>(me.step)];
    const int count = first->opens_pair ? 2 : 1;
    double begin = me.clock;
    double took = 0;
    for (int k = 0; k < count; ++k) {
      if (!CanBegin(rank, first[k], begin)) return false;
      took += Cost(first[k]);
    }
    const double end = begin + (count == 2 ? took * costs_.pair : took);
    for (int k = 0; k < count; ++k) Finish(rank, first[k], begin, end);
    me.clock = end;
    me.step += count;
    return true;
  }

  bool CanBegin(int rank, const Action& action, double& begin) {
    if (action.kind == ActionKind::kReduceGradients) return CanReduce(rank, action, begin);
    if (IsSend(action.kind)) return CanSend(rank, action, begin);
    return IsReceive(action.kind) || CanCompute(rank, action, begin);
  }

  void Finish(int rank, const Action& action, double begin, double end) {
    if (IsSend(action.kind)) Start(rank, action, begin);
    done_.Set(action, end);
    if (IsReceive(action.kind)) Post(action, end);
    if (record_) out_.ranks[static_cast<size_t>(rank)].push_back({action, begin, end});
    Wake(action);
  }

  bool Block(int rank, Blocked::Reason reason, const Few<Action, 2>& any_of) {
    state(rank).why = {rank, state(rank).step, reason, {any_of.begin(), any_of.end()}};
    for (const Action& option : any_of) waiting_.emplace(Key(option), rank);
    return false;
  }
  bool Block(int rank, Blocked::Reason reason, const Action& what) {
    Few<Action, 2> one;
    one.push_back(what);
    return Block(rank, reason, one);
  }

  // Whoever waits for this action is asked again.
  void Wake(const Action& action) {
    const auto [begin, end] = waiting_.equal_range(Key(action));
    for (auto waits = begin; waits != end;) {
      const int rank = waits->second;
      ready_.push_back(rank);
      waits = waiting_.erase(waits);
      for (const Action& other : state(rank).why.any_of) Forget(other, rank);
    }
  }
  // Of several that would do, one has come.
  void Forget(const Action& action, int rank) {
    const auto [begin, end] = waiting_.equal_range(Key(action));
    const auto found = std::find_if(begin, end, [&](const auto& waits) { return waits.second == rank; });
    if (found != end) waiting_.erase(found);
  }

  // All dependencies are there; `begin` becomes the time when the last of them was.
  bool CanCompute(int rank, const Action& action, double& begin) {
    for (const Dependency& need : Dependencies(layout_, action)) {
      const bool message = need.via == Via::kMessage;
      if (message && communicates_) {
        const Action receive = ReceiveOf(action);
        const double arrived = arrivals_.Get(receive);
        if (arrived < 0) return Block(rank, Blocked::Reason::kDependency, SendOf(layout_, receive));
        begin = std::max(begin, arrived);
        continue;
      }
      double done = kNotYet;
      for (const Action& option : need.any_of) done = std::max(done, done_.Get(option));
      if (done < 0) return Block(rank, Blocked::Reason::kDependency, need.any_of);
      begin = std::max(begin, done + (message ? MessageTime(action) : 0));
    }
    return true;
  }

  bool CanSend(int rank, const Action& action, double& begin) {
    const size_t window = static_cast<size_t>(rules_.WindowOf(action.kind));
    if (window == RunRules::kNoWindow) return true;
    const auto& sent = links_[LinkOf(rank, action)];
    if (window > 0 && sent.size() < window) return true;
    // The send whose receive has to be posted: itself, or the oldest that may not be incomplete besides this one.
    const Action receive = window == 0 ? ReceiverOf(layout_, action) : sent[sent.size() - window];
    const double posted = done_.Get(receive);
    if (posted < 0) return Block(rank, Blocked::Reason::kSendWindow, receive);
    begin = std::max(begin, posted);
    return true;
  }

  bool CanReduce(int rank, const Action& action, double& begin) {
    if (entered_.emplace(Key(action), begin).second) Wake(action);
    for (const Dependency& need : Dependencies(layout_, action)) {
      const auto partner = entered_.find(Key(need.any_of.front()));
      if (partner == entered_.end()) return Block(rank, Blocked::Reason::kCollective, need.any_of);
      begin = std::max(begin, partner->second);
    }
    return true;
  }

  // A message is under way from the moment when both of its ends are posted.
  void Start(int rank, const Action& send, double time) {
    const Action receive = ReceiverOf(layout_, send);
    if (rules_.WindowOf(send.kind) != RunRules::kNoWindow) links_[LinkOf(rank, send)].push_back(receive);
    const double posted = done_.Get(receive);
    if (posted >= 0) Deliver(send, receive, std::max(time, posted));
  }
  void Post(const Action& receive, double time) {
    const Action send = SendOf(layout_, receive);
    const double sent = done_.Get(send);
    if (sent >= 0) Deliver(send, receive, std::max(time, sent));
  }
  void Deliver(const Action& send, const Action& receive, double time) {
    const double end = time + MessageTime(receive);
    arrivals_.Set(receive, end);
    if (!record_) return;
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
  const bool record_;
  const bool communicates_;
  std::vector<RankState> states_;
  std::deque<int> ready_;                           // ranks to ask
  std::unordered_multimap<uint64_t, int> waiting_;  // for what action which rank waits
  ActionMap<double> done_;                          // when each action ended
  ActionMap<double> arrivals_;                      // when what each receive brings was there
  std::unordered_map<uint64_t, double> entered_;    // when each REDUCE_GRAD was entered
  // Where a window limits sends: the receives of those started, in order.
  std::map<std::tuple<int, int, ActionKind>, std::vector<Action>> links_;
  Execution out_;
};

}  // namespace

Execution Execute(const Schedule& schedule, const CostModel& costs, const RunRules& rules, bool record) {
  return Runner(schedule, costs, rules, record).Run();
}

}  // namespace shardlab
