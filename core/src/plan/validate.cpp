#include "shardlab/plan/validate.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "execution.hpp"
#include "footprint.hpp"
#include "index.hpp"
#include "shardlab/plan/dependencies.hpp"

namespace shardlab {

namespace {

template <typename Actions>
std::string Join(const Actions& actions) {
  std::string text;
  for (const Action& action : actions) text += (text.empty() ? "" : " or ") + ToString(action);
  return text;
}

class Validator {
 public:
  explicit Validator(const Schedule& schedule)
      : schedule_(schedule), layout_(schedule.layout), index_(layout_, schedule.microbatches) {}

  // All but rule 6.
  void CheckLists() {
    CheckEntries();
    CheckComplete();
    CheckOrder();
    CheckPairs();
    CheckVersions();
    CheckMessages();
  }

 private:
  [[noreturn]] void Fail(Place place, const std::string& why) const {
    throw ScheduleError(fmt::format("{}: rank {}, step {}: {}", schedule_.name, place.rank, place.step, why),
                        place.rank, place.step, ErrorTable(schedule_, {{place.rank, place.step, why}}));
  }

  template <typename Visit>
  void ForEach(Visit visit) const {
    for (int rank = 0; rank < layout_.ranks(); ++rank) {
      const auto& list = schedule_.ranks[static_cast<size_t>(rank)];
      for (int step = 0; step < static_cast<int>(list.size()); ++step) {
        visit(list[static_cast<size_t>(step)], Place{rank, step});
      }
    }
  }

  Place EndOf(int rank) const { return {rank, static_cast<int>(schedule_.ranks[static_cast<size_t>(rank)].size())}; }

  // Rule 1.
  void CheckEntries() {
    if (static_cast<int>(schedule_.ranks.size()) != layout_.ranks()) {
      throw ScheduleError(fmt::format("{}: there are {} lists for the {} ranks of the layout '{}'", schedule_.name,
                                      schedule_.ranks.size(), layout_.ranks(), ToString(layout_)));
    }
    ForEach([&](const Action& action, Place place) {
      if (!layout_.Has(action.chunk)) {
        Fail(place, fmt::format("{}: the layout '{}' has the chunks 0 to {}", ToString(action), ToString(layout_),
                                layout_.chunks() - 1));
      }
      if (layout_.chunk(action.chunk).rank != place.rank) {
        Fail(place, fmt::format("{}: chunk {} is on rank {}", ToString(action), action.chunk,
                                layout_.chunk(action.chunk).rank));
      }
      if (HasMicrobatch(action.kind)) {
        if (action.microbatch < 0 || action.microbatch >= schedule_.microbatches) {
          Fail(place, fmt::format("{}: the micro-batches are 0 to {}", ToString(action), schedule_.microbatches - 1));
        }
        if (action.version < 0 || (IsMessage(action.kind) && action.version != 0)) {
          Fail(place, fmt::format("{}: version {} does not exist", ToString(action), action.version));
        }
      } else if (action.version < 1) {
        Fail(place, fmt::format("{}: it leads to a version from 1 on: {}@1", ToString(action), ToString(action)));
      }
      if (!index_.Add(action, place.step)) {
        Fail(place, fmt::format("{} is already at step {}", ToString(action), index_.Find(action)->step));
      }
    });
  }

  // Rule 2.
  void CheckComplete() {
    const bool trains = schedule_.HasBackward();
    const int chunks_of_replica = layout_.chunks() / layout_.replicas();
    std::vector<int> replicas(static_cast<size_t>(schedule_.microbatches), -1);  // in which each micro-batch runs
    for (int chunk = 0; chunk < layout_.chunks(); ++chunk) {
      for (int i = 0; i < schedule_.microbatches; ++i) {
        const auto forward = index_.Find({ActionKind::kForward, chunk, i});
        if (!forward) continue;
        int& replica = replicas[static_cast<size_t>(i)];
        if (replica >= 0 && layout_.chunk(chunk).replica != replica) {
          Fail(*forward, fmt::format("micro-batch {} already runs in replica {}", i, replica));
        }
        replica = layout_.chunk(chunk).replica;
      }
    }
    for (int chunk = 0; chunk < layout_.chunks(); ++chunk) {
      for (int i = 0; i < schedule_.microbatches; ++i) {
        if (std::max(replicas[static_cast<size_t>(i)], 0) == chunk / chunks_of_replica) CheckChunk(chunk, i, trains);
      }
    }
    // What is left are actions in a replica that the micro-batch does not run in.
    ForEach([&](const Action& action, Place place) {
      if (IsCompute(action.kind) && !index_.Has({ActionKind::kForward, action.chunk, action.microbatch})) {
        Fail(place, fmt::format("{} has no forward {}F{}", ToString(action), action.chunk, action.microbatch));
      }
    });
  }

  void CheckChunk(int chunk, int i, bool trains) const {
    const int rank = layout_.chunk(chunk).rank;
    const auto forward = index_.Find({ActionKind::kForward, chunk, i});
    if (!forward) Fail(EndOf(rank), fmt::format("the forward {}F{} is missing", chunk, i));
    const auto whole = index_.Find({ActionKind::kBackward, chunk, i});
    const auto input = index_.Find({ActionKind::kBackwardInput, chunk, i});
    const auto weight = index_.Find({ActionKind::kBackwardWeight, chunk, i});
    if (whole && (input || weight)) {
      Fail(*whole, fmt::format("the backward of micro-batch {} on chunk {} is there whole and in halves", i, chunk));
    }
    if (!trains || whole) return;
    if (!input && !weight)
      Fail(*forward, fmt::format("the backward {}B{} (or {}I{} and {}W{}) is missing", chunk, i, chunk, i, chunk, i));
    if (!input) Fail(*weight, fmt::format("the input half {}I{} is missing", chunk, i));
    if (!weight) Fail(*input, fmt::format("the weight half {}W{} is missing", chunk, i));
  }

  // Rule 3, for what is left in the rank's own memory.
  void CheckOrder() const {
    ForEach([&](const Action& action, Place place) {
      if (IsMessage(action.kind)) return;  // CheckMessages
      for (const Dependency& need : Dependencies(layout_, action)) {
        if (need.via == Via::kMemory) RequireBefore(need.any_of, action, place);
      }
      if (action.kind == ActionKind::kRecompute) {
        for (const ActionKind kind : {ActionKind::kBackward, ActionKind::kBackwardInput}) {
          const auto use = index_.Find({kind, action.chunk, action.microbatch});
          if (use && use->step < place.step) {
            Fail(place,
                 fmt::format("{} comes after the backward at step {} that it is for", ToString(action), use->step));
          }
        }
      }
    });
  }

  template <typename Actions>
  void RequireBefore(const Actions& any_of, const Action& action, Place place) const {
    int later = -1;
    for (const Action& option : any_of) {
      const auto found = index_.Find(option);
      if (found && found->step < place.step) return;
      if (found) later = found->step;
    }
    const std::string where = later < 0 ? "which is nowhere" : fmt::format("which comes only at step {}", later);
    Fail(place, fmt::format("{} needs {}, {}", ToString(action), Join(any_of), where));
  }

  // Rule 3, for two that run at once.
  void CheckPairs() const {
    ForEach([&](const Action& action, Place place) {
      if (!action.opens_pair) return;
      const auto& list = schedule_.ranks[static_cast<size_t>(place.rank)];
      const size_t next = static_cast<size_t>(place.step) + 1;
      if (action.kind != ActionKind::kForward || next == list.size() || !GivesInputGradient(list[next].kind)) {
        Fail(place, fmt::format("{} opens a pair: a pair is a forward and, in the next entry, a backward (B or I)",
                                ToString(action)));
      }
      for (const Dependency& need : Dependencies(layout_, list[next])) {
        for (const Action& option : need.any_of) {
          if (Key(option) != Key(action)) continue;
          Fail(place, fmt::format("the two of a pair run at once, and {} needs {}: make them two entries",
                                  ToString(list[next]), ToString(action)));
        }
      }
    });
  }

  // Rule 4. Within one list, so no other rank matters.
  void CheckVersions() const {
    struct ChunkState {
      int latest = 0;
      int summed = 0;               // the version whose gradients REDUCE_GRAD has summed
      std::optional<Place> unused;  // the first gradient that has gone into no STEP yet
    };
    bool steps = false;
    bool reduces = layout_.replicas() > 1;
    ForEach([&](const Action& action, Place) {
      steps |= action.kind == ActionKind::kStep;
      reduces |= action.kind == ActionKind::kReduceGradients;
    });

    std::vector<ChunkState> chunks(static_cast<size_t>(layout_.chunks()));
    ForEach([&](const Action& action, Place place) {
      ChunkState& chunk = chunks[static_cast<size_t>(action.chunk)];
      if (IsCompute(action.kind)) {
        const Place forward = *index_.Find({ActionKind::kForward, action.chunk, action.microbatch});
        const int used = schedule_.ranks[static_cast<size_t>(place.rank)][static_cast<size_t>(forward.step)].version;
        if (used != action.version) {
          Fail(place, fmt::format("{} uses weight version {}, but its forward used version {}", ToString(action),
                                  action.version, used));
        }
        if (GivesWeightGradient(action.kind)) {
          if (chunk.summed > chunk.latest) {
            Fail(place,
                 fmt::format("{} comes between {}REDUCE_GRAD@{} and {}STEP@{}: its gradient would be in neither sum",
                             ToString(action), action.chunk, chunk.summed, action.chunk, chunk.summed));
          }
          if (!chunk.unused) chunk.unused = place;
        }
      } else if (!HasMicrobatch(action.kind)) {
        if (action.version != chunk.latest + 1) {
          Fail(place,
               fmt::format("{}: the next version of chunk {} is {}", ToString(action), action.chunk, chunk.latest + 1));
        }
        if (action.kind == ActionKind::kReduceGradients) {
          chunk.summed = action.version;
          return;
        }
        if (reduces && chunk.summed != action.version) {
          Fail(place, fmt::format("{} needs {}REDUCE_GRAD@{} before it: other ranks hold the same weights",
                                  ToString(action), action.chunk, action.version));
        }
        chunk.latest = action.version;
        chunk.unused.reset();
      }
    });
    for (size_t chunk = 0; chunk < chunks.size(); ++chunk) {
      if (!steps || !chunks[chunk].unused) continue;
      Fail(*chunks[chunk].unused, fmt::format("no {}STEP@{} comes after it: its weight gradient is never used", chunk,
                                              chunks[chunk].latest + 1));
    }
  }

  // Rule 5, and rule 3 for what arrives.
  void CheckMessages() const {
    if (!schedule_.HasCommunication()) return;
    ActionMap<char> needed(layout_, schedule_.microbatches, 0);  // receives
    ForEach([&](const Action& action, Place place) {
      if (!IsCompute(action.kind)) return;
      for (const Dependency& need : Dependencies(layout_, action)) {
        if (need.via != Via::kMessage) continue;
        const Action receive = ReceiveOf(action);
        const Action send = SendOf(layout_, receive);
        RequireBefore(std::array{receive}, action, place);
        if (!index_.Has(send)) {
          Fail(EndOf(layout_.chunk(send.chunk).rank),
               fmt::format("{} is missing: {} on rank {} needs it", ToString(send), ToString(action), place.rank));
        }
        needed.Set(receive, 1);
      }
    });
    ForEach([&](const Action& action, Place place) {
      if (!IsMessage(action.kind)) return;
      Action receive = action;
      try {
        // Either throws for a chunk at the end of the model.
        receive = IsSend(action.kind) ? ReceiverOf(layout_, action) : action;
        SendOf(layout_, receive);
      } catch (const ScheduleError& error) {
        Fail(place, error.what());
      }
      if (needed.Get(receive) == 0) {
        Fail(place, fmt::format("{}: no computation needs this message", ToString(action)));
      }
      if (IsSend(action.kind)) RequireBefore(Dependencies(layout_, action).front().any_of, action, place);
    });
  }

 public:
  // Rule 6.
  void CheckEnd(const std::vector<Blocked>& blocked, const RunRules& rules) const {
    if (blocked.empty()) return;
    const auto at = [&](int rank) {
      return std::find_if(blocked.begin(), blocked.end(), [&](const Blocked& b) { return b.rank == rank; });
    };
    const auto waits_for = [&](const Blocked& b) {
      for (const Action& option : b.any_of) {
        if (const auto place = index_.Find(option)) return *place;
      }
      return Place{-1, -1};
    };
    const auto action_of = [&](const Blocked& b) {
      return schedule_.ranks[static_cast<size_t>(b.rank)][static_cast<size_t>(b.step)];
    };

    std::vector<ListMark> marks;
    for (const Blocked& b : blocked) {
      const Place place = waits_for(b);
      std::string note;
      switch (b.reason) {
        case Blocked::Reason::kDependency:
          note = fmt::format("waits for {}, step {} of rank {}", Join(b.any_of), place.step, place.rank);
          break;
        case Blocked::Reason::kSendWindow:
          note = fmt::format("may go on at {}, step {} of rank {}: the send window is {}", Join(b.any_of), place.step,
                             place.rank, rules.WindowOf(action_of(b).kind));
          break;
        case Blocked::Reason::kCollective:
          note = fmt::format("waits for rank {} to join with {}, its step {}", place.rank, Join(b.any_of), place.step);
          break;
      }
      marks.push_back({b.rank, b.step, note});
    }

    // Everybody waits for somebody who waits: walk until a rank comes up again, and tell that circle.
    std::vector<int> walk{blocked.front().rank};
    while (true) {
      const int next = waits_for(*at(walk.back())).rank;
      const auto seen = std::find(walk.begin(), walk.end(), next);
      if (seen != walk.end()) {
        walk.erase(walk.begin(), seen);
        break;
      }
      walk.push_back(next);
    }
    std::vector<std::string> circle;
    constexpr size_t kMostTold = 4;
    for (const int rank : walk) {
      const Blocked& b = *at(rank);
      circle.push_back(fmt::format("rank {} is at {} and waits for {} of rank {}", rank, ToString(action_of(b)),
                                   Join(b.any_of), waits_for(b).rank));
      if (circle.size() == kMostTold && walk.size() > kMostTold) {
        circle.push_back(fmt::format("and so on over {} ranks", walk.size()));
        break;
      }
    }
    const Blocked& first = *at(walk.front());
    throw ScheduleError(fmt::format("{}: deadlock: {}", schedule_.name, fmt::join(circle, "; ")), first.rank,
                        first.step, ErrorTable(schedule_, marks));
  }

 private:
  const Schedule& schedule_;
  const Layout& layout_;
  Index index_;
};

}  // namespace

Execution ValidateAndExecute(const Schedule& schedule, const CostModel& costs, const RunRules& rules, bool record,
                             Footprint& footprint) {
  if (rules.forward_window < 0 || rules.backward_window < 0) {
    throw ScheduleError(
        fmt::format("a send window is 0 or more, not {}", std::min(rules.forward_window, rules.backward_window)));
  }
  Validator validator(schedule);
  validator.CheckLists();
  Execution run = Execute(schedule, costs, rules, record);
  validator.CheckEnd(run.blocked, rules);
  footprint = MeasureFootprint(schedule);
  return run;
}

Footprint Validate(const Schedule& schedule, const RunRules& rules) {
  Footprint footprint;
  ValidateAndExecute(schedule, {}, rules, /*record=*/false, footprint);
  return footprint;
}

}  // namespace shardlab
