// Random schedules, right and wrong ones: what Validate says of each is what happens when threads run it, and what
// Simulate says of its time is the longest path through it.

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "random_schedules.hpp"
#include "shardlab/pipeline/policies.hpp"
#include "shardlab/plan/passes.hpp"
#include "shardlab/plan/simulate.hpp"
#include "shardlab/plan/text.hpp"
#include "thread_run.hpp"

namespace shardlab {
namespace {

TEST(Fuzz, ValidateSaysWhatThreadsDo) {
  Random random(20240117);
  int valid = 0;
  int deadlocks = 0;
  int faults = 0;
  for (int round = 0; round < 10000; ++round) {
    Schedule schedule = RandomSchedule(random);
    const int mutations = std::max(0, Pick(random, -1, 3));
    for (int k = 0; k < mutations; ++k) Mutate(schedule, random);
    const int windows[] = {0, 1, 2, RunRules::kNoWindow};
    const RunRules rules{windows[Pick(random, 0, 3)], windows[Pick(random, 0, 3)]};

    std::string verdict;
    try {
      Validate(schedule, rules);
    } catch (const ScheduleError& error) {
      verdict = error.what();
    }
    const std::string happened = RunWithThreads(schedule, rules);
    ASSERT_EQ(verdict.empty(), happened.empty())
        << "round " << round << "\nValidate: " << verdict << "\nthreads: " << happened << "\nwindows "
        << rules.forward_window << " " << rules.backward_window << "\n"
        << FormatSchedule(schedule);
    if (verdict.find("deadlock") != std::string::npos) {
      ASSERT_EQ(happened, "deadlock") << verdict << "\n" << FormatSchedule(schedule);
      ++deadlocks;
    } else {
      ++(verdict.empty() ? valid : faults);
    }
    if (mutations == 0 && rules.forward_window > 2 && rules.backward_window > 2) {
      ASSERT_EQ(verdict, "") << FormatSchedule(schedule);
    }
  }
  // The three kinds must all be there, or the test tests little.
  EXPECT_GT(valid, 2000);
  EXPECT_GT(deadlocks, 300);
  EXPECT_GT(faults, 2000);
}

// ---- Time: the end of an action is the longest path to it.

class LongestPath {
 public:
  LongestPath(const Schedule& schedule, const CostModel& costs) : s_(schedule), costs_(costs) {
    for (int rank = 0; rank < s_.layout.ranks(); ++rank) {
      for (size_t step = 0; step < s_.ranks[rank].size(); ++step) {
        const Action& a = s_.ranks[rank][step];
        where_[Name(a)] = {rank, step};
      }
    }
  }

  double Makespan() {
    double latest = 0;
    for (int rank = 0; rank < s_.layout.ranks(); ++rank) {
      if (!s_.ranks[rank].empty()) latest = std::max(latest, End(rank, s_.ranks[rank].size() - 1));
    }
    return latest;
  }

 private:
  static std::string Name(const Action& a) {
    return ToString({a.kind, a.chunk, a.microbatch, a.microbatch < 0 ? a.version : 0});
  }
  double EndOf(const Action& a) {
    const auto found = where_.find(Name(a));
    return found == where_.end() ? -1 : End(found->second.first, found->second.second);
  }

  double End(int rank, size_t step) {
    const auto [known, is_new] = ends_.emplace(std::make_pair(rank, step), 0.0);
    if (!is_new) return known->second;
    const Action& a = s_.ranks[rank][step];
    const Chunk& chunk = s_.layout.chunk(a.chunk);
    double begin = step == 0 ? 0 : End(rank, step - 1);
    const auto message = [&](int other, bool forward) {
      if (other < 0 || s_.layout.chunk(other).rank == rank) return;
      const double took = costs_.message[static_cast<size_t>(forward ? chunk.stage - 1 : chunk.stage)];
      if (!s_.HasCommunication()) {
        const double whole =
            EndOf(forward ? Action::Forward(other, a.microbatch) : Action::Backward(other, a.microbatch));
        const double half = forward ? whole : EndOf(Action::BackwardInput(other, a.microbatch));
        begin = std::max(begin, std::max(whole, half) + took);
        return;
      }
      const double sent = EndOf({forward ? ActionKind::kSendForward : ActionKind::kSendBackward, other, a.microbatch});
      const double posted =
          EndOf({forward ? ActionKind::kReceiveForward : ActionKind::kReceiveBackward, a.chunk, a.microbatch});
      begin = std::max(begin, std::max(sent, posted) + took);
    };
    const size_t stage = static_cast<size_t>(chunk.stage);
    double took = 0;
    switch (a.kind) {
      case ActionKind::kForward:
        message(chunk.previous, true);
        took = costs_.forward[stage];
        break;
      case ActionKind::kRecompute:
        took = costs_.forward[stage];
        break;
      case ActionKind::kBackward:
        message(chunk.next, false);
        took = costs_.backward_input[stage] + costs_.backward_weight[stage];
        break;
      case ActionKind::kBackwardInput:
        message(chunk.next, false);
        took = costs_.backward_input[stage];
        break;
      case ActionKind::kBackwardWeight:
        took = costs_.backward_weight[stage];
        break;
      case ActionKind::kStep:
        took = costs_.step[stage];
        break;
      default:
        break;
    }
    return ends_[{rank, step}] = begin + took;
  }

  const Schedule& s_;
  const CostModel& costs_;
  std::map<std::string, std::pair<int, size_t>> where_;
  std::map<std::pair<int, size_t>, double> ends_;
};

TEST(Fuzz, TheMakespanIsTheLongestPath) {
  Random random(7);
  for (int round = 0; round < 2000; ++round) {
    Schedule schedule = RandomOrder(random);
    if (schedule.HasBackward() && schedule.layout.replicas() == 1) schedule = Flush(schedule);
    if (Chance(random, 50)) schedule = AddCommunication(schedule, Pick(random, 0, 2));
    CostModel costs;
    for (auto* list : {&costs.forward, &costs.backward_input, &costs.backward_weight, &costs.message, &costs.step}) {
      list->clear();
      for (int stage = 0; stage < schedule.layout.stages(); ++stage) list->push_back(Pick(random, 0, 9));
    }
    ASSERT_EQ(Simulate(schedule, costs).makespan, LongestPath(schedule, costs).Makespan()) << FormatSchedule(schedule);
  }
}

// Text that is nearly a schedule never does worse than an error of one line.
TEST(Fuzz, TextIsReadOrRefused) {
  Random random(11);
  const std::string alphabet = "0123456789FBIWRSENDCVT_@:,;() \n#-xé";
  int read = 0;
  for (int round = 0; round < 4000; ++round) {
    const Schedule schedule = RandomSchedule(random);
    std::string text = FormatSchedule(schedule);
    if (Chance(random, 50) && schedule.layout.replicas() == 1) {
      try {
        text = ToPyTorchCsv(schedule);
      } catch (const ScheduleError&) {
      }
    }
    for (int k = Pick(random, 0, 3); k > 0; --k) {
      const size_t place = static_cast<size_t>(Pick(random, 0, static_cast<int>(text.size()) - 1));
      const char letter = alphabet[static_cast<size_t>(Pick(random, 0, static_cast<int>(alphabet.size()) - 1))];
      if (Chance(random, 50)) text[place] = letter;
      if (Chance(random, 50)) text.erase(place, static_cast<size_t>(Pick(random, 0, 9)));
      if (text.empty()) text = "0";
    }
    try {
      Validate(ReadSchedule(text));
      ++read;
    } catch (const ScheduleError& error) {
      ASSERT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what() << "\n" << text;
    }
  }
  EXPECT_GT(read, 500);
}

}  // namespace
}  // namespace shardlab
