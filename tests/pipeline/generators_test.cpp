// Every figure that the generators' contracts promise, over many sizes, odd ones included.

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include <gtest/gtest.h>

#include "../texts.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/pipeline/computation.hpp"
#include "shardlab/plan/figures.hpp"
#include "shardlab/plan/passes.hpp"
#include "shardlab/plan/simulate.hpp"
#include "shardlab/plan/text.hpp"

namespace shardlab {
namespace {

constexpr double kNear = 1e-9;

// tf and tb of a stage; a backward longer than, as long as and shorter than a forward.
struct Times {
  double tf, tb;
};
const Times kTimes[] = {{1, 2}, {1, 1}, {3, 2}, {2, 7}};

std::string Label(const Schedule& schedule, Times t) {
  return schedule.name + ", " + ToString(schedule.layout) + ", m = " + std::to_string(schedule.microbatches) +
         ", tf = " + std::to_string(t.tf) + ", tb = " + std::to_string(t.tb);
}

// The simulation of the schedule with and without its messages, which agree as long as messages take no time.
Simulation SimulateBothWays(const Schedule& schedule, const CostModel& costs) {
  const Simulation plain = Simulate(schedule, costs);
  const Simulation with_messages = Simulate(AddCommunication(schedule), costs);
  EXPECT_NEAR(plain.makespan, with_messages.makespan, kNear);
  EXPECT_EQ(plain.footprint.live, with_messages.footprint.live);
  return with_messages;
}

int WarmUp(const std::vector<Action>& list) {
  int forwards = 0;
  while (forwards < static_cast<int>(list.size()) && list[forwards].kind == ActionKind::kForward) ++forwards;
  return forwards;
}

template <typename Visit>
void ForEachSize(Visit visit) {
  for (int P = 1; P <= 7; ++P) {
    for (int m = 1; m <= 17; ++m) {
      for (const Times& t : kTimes) visit(P, m, t);
    }
  }
}

TEST(Generators, NaiveKeepsOneMicrobatchAndOneRankBusy) {
  ForEachSize([](int P, int m, Times t) {
    const Schedule schedule = Naive(P, m);
    SCOPED_TRACE(Label(schedule, t));
    const Simulation run = SimulateBothWays(schedule, CostModel::Uniform(t.tf, t.tb));
    EXPECT_NEAR(run.makespan, m * P * (t.tf + t.tb), kNear);
    EXPECT_NEAR(run.bubble, (P - 1.0) / P, kNear);
    EXPECT_EQ(run.footprint.live, std::vector<int>(P, 1));
    EXPECT_EQ(static_cast<int>(run.messages.size()), 2 * m * (P - 1));
  });
}

TEST(Generators, GPipeKeepsEveryMicrobatch) {
  ForEachSize([](int P, int m, Times t) {
    const Schedule schedule = GPipe(P, m);
    SCOPED_TRACE(Label(schedule, t));
    const Simulation run = SimulateBothWays(schedule, CostModel::Uniform(t.tf, t.tb));
    EXPECT_NEAR(run.makespan, (m + P - 1) * (t.tf + t.tb), kNear);
    EXPECT_NEAR(run.bubble, (P - 1.0) / (m + P - 1), kNear);
    EXPECT_EQ(run.footprint.live, std::vector<int>(P, m));
    EXPECT_EQ(static_cast<int>(run.messages.size()), 2 * m * (P - 1));
  });
}

TEST(Generators, OneFOneBHasTheBubbleOfGPipeAndTheMemoryOfItsDepth) {
  ForEachSize([](int P, int m, Times t) {
    const Schedule schedule = OneFOneB(P, m);
    SCOPED_TRACE(Label(schedule, t));
    const Simulation run = SimulateBothWays(schedule, CostModel::Uniform(t.tf, t.tb));
    EXPECT_NEAR(run.makespan, (m + P - 1) * (t.tf + t.tb), kNear);
    EXPECT_NEAR(run.bubble, (P - 1.0) / (m + P - 1), kNear);
    EXPECT_EQ(static_cast<int>(run.messages.size()), 2 * m * (P - 1));
    for (int s = 0; s < P; ++s) {
      EXPECT_EQ(run.footprint.live[s], std::min(m, P - s));
      // The forward after the warm-up is the first of the one-and-one phase.
      EXPECT_EQ(WarmUp(schedule.ranks[s]), std::min(m, P - 1 - s) + (m > P - 1 - s ? 1 : 0));
    }
  });
}

TEST(Generators, AThousandMicrobatchesNeedTheMemoryOfEight) {
  EXPECT_EQ(Validate(OneFOneB(4, 1000)).live, Validate(OneFOneB(4, 8)).live);
  EXPECT_EQ(Validate(GPipe(4, 1000)).live, std::vector<int>(4, 1000));
}

TEST(Generators, InterleavingDividesTheBubble) {
  for (int P = 2; P <= 6; ++P) {
    for (int v = 2; v <= 4; ++v) {
      for (int blocks = 1; blocks <= 4; ++blocks) {
        for (const Times& t : kTimes) {
          const int m = blocks * P;
          const Schedule schedule = InterleavedOneFOneB(P, v, m);
          SCOPED_TRACE(Label(schedule, t));
          const Simulation run = SimulateBothWays(schedule, CostModel::Uniform(t.tf, t.tb, v));
          EXPECT_NEAR(run.makespan, m * (t.tf + t.tb) + (P - 1) * (t.tf + t.tb) / v, kNear);
          EXPECT_NEAR(run.bubble, (P - 1.0) / (v * m + P - 1), kNear);
          EXPECT_EQ(static_cast<int>(run.messages.size()), 2 * m * (P * v - 1));
          for (int s = 0; s < P; ++s) {
            const int warm_up = 2 * (P - s - 1) + (v - 1) * P;
            EXPECT_EQ(run.footprint.live[s], std::min(m * v, warm_up + 1));
            EXPECT_EQ(WarmUp(schedule.ranks[s]), std::min(m * v, warm_up + 1));
          }
        }
      }
    }
  }
  EXPECT_NEAR(Simulate(InterleavedOneFOneB(1, 3, 5)).bubble, 0, kNear);  // one rank
}

TEST(Generators, ZeroBubbleH1FillsTheBubbleWithWeightGradients) {
  for (int P = 1; P <= 7; ++P) {
    for (int m = P; m <= 17; ++m) {
      for (const auto& [TF, TB, TW] :
           {std::array{1., 1., 1.}, {2., 3., 1.}, {3., 2., 2.}, {1., 4., 3.}, {1., 1., 0.}}) {
        const Schedule schedule = ZeroBubbleH1(P, m);
        SCOPED_TRACE(Label(schedule, {TF, TB + TW}));
        const Simulation run = SimulateBothWays(schedule, CostModel::Uniform(TF, TB + TW, 1, TW / (TB + TW)));
        EXPECT_NEAR(run.makespan, m * (TF + TB + TW) + (P - 1) * (TB + std::max(TF - TW, 0.)), kNear);
        EXPECT_EQ(static_cast<int>(run.messages.size()), 2 * m * (P - 1));
        for (int s = 0; s < P; ++s) {
          EXPECT_EQ(run.footprint.live[s], std::min(m, P));
          EXPECT_EQ(run.footprint.live_until_input_gradient[s], P - s);
        }
      }
    }
  }
}

TEST(Generators, ZeroBubbleH2HasNoBubble) {
  for (int P = 1; P <= 7; ++P) {
    for (int m = 2 * P - 1; m <= 2 * P + 9; ++m) {
      const Schedule schedule = ZeroBubbleH2(P, m);
      SCOPED_TRACE(Label(schedule, {1, 2}));
      const Simulation run = SimulateBothWays(schedule, CostModel::Uniform(1, 2));
      EXPECT_NEAR(run.makespan, 3 * m + P - 1, kNear);  // the skew stays
      for (int s = 0; s < P; ++s) {
        EXPECT_NEAR(run.gaps[s], 0, kNear);
        EXPECT_NEAR(run.ranks[s].back().end, 3 * m + s, kNear);
        EXPECT_EQ(WarmUp(schedule.ranks[s]), std::min(m, 2 * (P - s) - 1));
        EXPECT_EQ(run.footprint.live[s], 2 * P - 1);
      }
    }
  }
}

TEST(Generators, ZeroBubbleH2IsIdleOnlyWhereHalvesDiffer) {
  for (int P = 1; P <= 6; ++P) {
    for (int m = 2 * P - 1; m <= 2 * P + 5; ++m) {
      const Schedule schedule = ZeroBubbleH2(P, m);
      for (int TF = 1; TF <= 4; ++TF) {
        for (int TB = 1; TB <= 4; ++TB) {
          for (int TW = 0; TW <= TF; ++TW) {
            const double tb = TB + TW;
            const Simulation run = Simulate(schedule, CostModel::Uniform(TF, tb, 1, TW / tb));
            const double longest = *std::max_element(run.gaps.begin(), run.gaps.end());
            ASSERT_NEAR(longest, std::max(0, (P - 1) * (TF + TB - 2 * TW)), kNear)
                << Label(schedule, {double(TF), tb}) << ", TW = " << TW;
          }
        }
      }
    }
  }
}

TEST(Generators, ZeroBubbleWorksWithFewMicrobatches) {
  for (int P = 1; P <= 7; ++P) {
    for (int m = 1; m <= 2 * P; ++m) {
      for (const Schedule& schedule : {ZeroBubbleH1(P, m), ZeroBubbleH2(P, m)}) {
        SCOPED_TRACE(Label(schedule, {1, 2}));
        const Simulation run = SimulateBothWays(schedule, CostModel::Uniform(1, 2));
        EXPECT_LE(run.makespan, (m + P - 1) * 3 + kNear);  // never longer than 1F1B
      }
    }
  }
}

// ---- Those that are nobody's exercise.

int BlockOf(int P, int m) {  // the largest of interleaving
  const int blocks = std::max(1, m / P);
  return (m + blocks - 1) / blocks;
}

TEST(Generators, InterleavingTakesAnyNumberOfMicrobatches) {
  for (int P = 1; P <= 6; ++P) {
    for (int v = 2; v <= 4; ++v) {
      for (int m = 1; m <= 3 * P + 2; ++m) {
        const Schedule schedule = InterleavedAny(P, v, m);
        if (m % P == 0) {
          EXPECT_EQ(schedule.ranks, InterleavedOneFOneB(P, v, m).ranks);
        }
        for (const Times& t : kTimes) {
          SCOPED_TRACE(Label(schedule, t));
          const Simulation run = SimulateBothWays(schedule, CostModel::Uniform(t.tf, t.tb, v));
          EXPECT_NEAR(run.makespan, std::max(m, P) * (t.tf + t.tb) + (std::min(m, P) - 1) * (t.tf + t.tb) / v, kNear);
          if (P > 1) {
            EXPECT_EQ(static_cast<int>(run.messages.size()), 2 * m * (P * v - 1));
          }
          for (int s = 0; s < P && m >= P; ++s) {
            EXPECT_EQ(run.footprint.live[s], std::min(m * v, 2 * (P - s - 1) + (v - 1) * BlockOf(P, m) + 1));
          }
        }
      }
    }
  }
}

TEST(Generators, BreadthFirstHasTheBubbleOfInterleavingAndTheMemoryOfGPipe) {
  for (int P = 1; P <= 6; ++P) {
    for (int v = 2; v <= 4; ++v) {
      for (int m = 1; m <= 13; ++m) {
        const Schedule schedule = LoopedBreadthFirst(P, v, m);
        for (const Times& t : kTimes) {
          SCOPED_TRACE(Label(schedule, t));
          const Simulation run = SimulateBothWays(schedule, CostModel::Uniform(t.tf, t.tb, v));
          if (m >= P) {
            EXPECT_NEAR(run.makespan, m * (t.tf + t.tb) + (P - 1) * (t.tf + t.tb) / v, kNear);
            EXPECT_NEAR(run.bubble, (P - 1.0) / (v * m + P - 1), kNear);
          }
          EXPECT_EQ(run.footprint.live, std::vector<int>(P, m * v));
          if (P > 1) {
            EXPECT_EQ(static_cast<int>(run.messages.size()), 2 * m * (P * v - 1));
          }
        }
      }
    }
  }
}

TEST(Generators, InterleavedZeroBubbleDividesTheBubbleOfH1) {
  for (int P = 1; P <= 6; ++P) {
    for (int v = 2; v <= 4; ++v) {
      for (int m = 1; m <= 3 * P + 2; ++m) {
        const Schedule schedule = InterleavedZeroBubble(P, v, m);
        for (const auto& [TF, TB, TW] :
             {std::array{1., 1., 1.}, {2., 3., 1.}, {3., 2., 2.}, {1., 4., 3.}, {1., 1., 0.}}) {
          SCOPED_TRACE(Label(schedule, {TF, TB + TW}));
          const Simulation run = SimulateBothWays(schedule, CostModel::Uniform(TF, TB + TW, v, TW / (TB + TW)));
          if (m < P) continue;
          EXPECT_NEAR(run.makespan, m * (TF + TB + TW) + (P - 1) * (TB + std::max(TF - TW, 0.)) / v, kNear);
          EXPECT_EQ(run.footprint.live, std::vector<int>(P, std::min(m * v, (v - 1) * BlockOf(P, m) + P)));
        }
      }
    }
  }
}

TEST(Generators, ZeroBubbleVHasNoBubbleInTheMemoryOfOneFOneB) {
  for (int P = 1; P <= 7; ++P) {
    for (int m = 1; m <= 2 * P + 9; ++m) {
      const Schedule schedule = ZeroBubbleV(P, m);
      SCOPED_TRACE(Label(schedule, {1, 2}));
      EXPECT_EQ(schedule.layout.chunk(0).rank, schedule.layout.chunk(2 * P - 1).rank);
      const Simulation run = SimulateBothWays(schedule, CostModel::Uniform(2, 4, 2));
      EXPECT_EQ(static_cast<int>(run.messages.size()), 2 * m * (2 * P - 2));  // at the turn the next chunk is here
      if (m < 2 * P - 1) continue;
      EXPECT_NEAR(run.makespan, 6 * m + P - 1, kNear);
      EXPECT_EQ(run.gaps, std::vector<double>(P, 0));
      EXPECT_EQ(run.footprint.live, std::vector<int>(P, 2 * P));
    }
  }
}

TEST(Generators, DualPipeVHasTheBubbleOfItsFormula) {
  for (int P = 1; P <= 7; ++P) {
    for (int m = 1; m <= 2 * P + 9; ++m) {
      const Schedule schedule = DualPipeV(P, m);
      EXPECT_EQ(ParseSchedule(FormatSchedule(schedule)), schedule);
      for (const auto& [TF, TB, TW] :
           {std::array{1., 1., 1.}, {2., 2., 1.}, {1., 1., 0.}, {3., 3., 2.}, {5., 5., 1.}}) {
        SCOPED_TRACE(Label(schedule, {TF, TB + TW}));
        const CostModel costs = CostModel::Uniform(2 * TF, 2 * (TB + TW), 2, TW / (TB + TW));
        const Simulation run = SimulateBothWays(schedule, costs);
        if (m < 2 * P) continue;
        EXPECT_NEAR(run.makespan, 2 * m * (TF + TB + TW) + (P - 1) * (TF + 2 * TB - TW), kNear);
        EXPECT_EQ(run.footprint.live, std::vector<int>(P, 2 * P + 1));
        CostModel overlapped = costs;
        overlapped.pair = 0.8;
        EXPECT_LT(SimulateBothWays(schedule, overlapped).makespan, run.makespan);
      }
    }
  }
}

// What --mine says of a generator that makes another valid schedule. The right ones differ in nothing, over many sizes.
TEST(Generators, AreWhatTheirNamesPromise) {
  for (const ScheduleTraits& traits : AllScheduleTraits()) {
    for (int P = 1; P <= 5; ++P) {
      for (int v = 2; v <= 3; ++v) {
        for (int m = 1; m <= 2 * P + 4; ++m) {
          if ((traits.whole_rounds && m % P != 0) || (traits.name == "2bw" && m < P)) continue;
          const bool each = traits.updates == Updates::kEachMicroBatch;
          const int updates = each ? m : traits.IsAsynchronous() ? 3 : 1;
          const Schedule schedule = ComputationOf(traits, P, v, each ? 1 : m, updates);
          EXPECT_EQ(DifferenceFromItsName(traits, schedule), "") << Label(schedule, {1, 2});
        }
      }
    }
  }
  const auto differs = [](const char* name, const Schedule& schedule) {
    return DifferenceFromItsName(TraitsOf(name), schedule);
  };
  EXPECT_EQ(differs("1f1b", Naive(4, 8)), "with a forward of 1 and a backward of 2 it takes 96, and 1f1b takes 33");
  EXPECT_EQ(differs("1f1b", GPipe(4, 8)), "rank 0 keeps 8 micro-batches, and in 1f1b it keeps 4");
  Schedule ascending = GPipe(3, 4);
  for (auto& list : ascending.ranks) std::reverse(list.begin() + 4, list.end());
  EXPECT_EQ(differs("gpipe", ascending), "0B0 comes before 0B1, and in gpipe the last micro-batch goes back first");
  EXPECT_EQ(differs("zb-h1", ZeroBubbleH2(3, 6)), "rank 0 keeps 5 micro-batches, and in zb-h1 it keeps 3");
}

TEST(Generators, WPipeHalvesTheOverheadOfOneFOneB) {
  for (int P = 1; P <= 6; ++P) {
    for (int blocks = 1; blocks <= 5; ++blocks) {
      for (const Times& t : kTimes) {
        const int m = blocks * P;
        const Schedule schedule = WPipe(P, m);
        SCOPED_TRACE(Label(schedule, t));
        const Simulation run = SimulateBothWays(schedule, CostModel::Uniform(t.tf, t.tb, 2));
        EXPECT_NEAR(run.makespan, m * (t.tf + t.tb) + (P - 1) * (t.tf + t.tb) / 2, kNear);
        // On one rank all chunks are neighbours in memory.
        EXPECT_EQ(static_cast<int>(run.messages.size()), P == 1 ? 0 : 2 * m * (2 * P - 1));
        for (int s = 0; s < P; ++s) {
          EXPECT_EQ(WarmUp(schedule.ranks[s]), std::min(2 * m, 2 * P - 1 - s) + (2 * m > 2 * P - 1 - s ? 1 : 0));
          EXPECT_EQ(run.footprint.live[s], std::min(2 * m, 2 * P - s));
        }
      }
    }
  }
}

// Two replicas in mirrored order: sub-batch j runs GPipe in replica j % 2, and its forwards enter where the backwards
// of sub-batch j-1 leave.
Schedule MirroredSubBatches(int P, int m, int k) {
  Schedule schedule("gems", Layout::Bidirectional(P), m * k);
  for (int j = 0; j < k; ++j) {
    for (int chunk = j % 2 * P; chunk < (j % 2 + 1) * P; ++chunk) {
      auto& list = schedule.ranks[schedule.layout.chunk(chunk).rank];
      for (int i = j * m; i < (j + 1) * m; ++i) list.push_back(Action::Forward(chunk, i));
      for (int i = (j + 1) * m - 1; i >= j * m; --i) list.push_back(Action::Backward(chunk, i));
    }
  }
  return schedule;
}

TEST(Generators, TwoMirroredReplicasOverlapByOneForwardPass) {
  for (int P = 1; P <= 6; ++P) {
    for (int m = 1; m <= 4; ++m) {
      for (int k = 1; k <= 6; ++k) {
        for (const Times& t : kTimes) {
          if (t.tb < t.tf) continue;
          const Schedule schedule = MirroredSubBatches(P, m, k);
          SCOPED_TRACE(Label(schedule, t));
          const Simulation run = SimulateBothWays(schedule, CostModel::Uniform(t.tf, t.tb));
          EXPECT_NEAR(run.makespan, k * (m + P - 1) * (t.tf + t.tb) - (k - 1) * (P - 1) * t.tf, kNear);
          EXPECT_EQ(run.footprint.live, std::vector<int>(P, m));  // the larger of the two, not the sum
          Validate(AddGradientReduction(Flush(schedule)));
        }
      }
    }
  }
}

// How few sends may be incomplete without holding anybody up.
TEST(Generators, SendWindows) {
  const auto slower = [](const Schedule& schedule, RunRules rules, int ahead) {
    const CostModel costs = CostModel::Uniform(2, 4, schedule.layout.chunks_per_rank());
    return Simulate(AddCommunication(schedule, ahead), costs, rules).makespan - Simulate(schedule, costs).makespan;
  };
  for (int P = 1; P <= 6; ++P) {
    const int m = 3 * P;
    for (const Schedule& schedule :
         {Naive(P, m), GPipe(P, m), OneFOneB(P, m), ZeroBubbleH1(P, m), ZeroBubbleH2(P, m)}) {
      EXPECT_NEAR(slower(schedule, {1, 1}, 0), 0, kNear) << Label(schedule, {2, 4});
    }
    for (const Schedule& schedule : {InterleavedOneFOneB(P, 3, m), WPipe(P, m)}) {
      EXPECT_NEAR(slower(schedule, {RunRules::kNoWindow, P}, 0), 0, kNear) << Label(schedule, {2, 4});
    }
  }
  EXPECT_THROW(slower(WPipe(5, 20), {1, 1}, 1), ScheduleError);
  // Blocking sends: 1F1B's neighbours send to each other at the same time.
  EXPECT_THROW(slower(OneFOneB(4, 8), {0, 0}, 0), ScheduleError);
  EXPECT_NO_THROW(slower(OneFOneB(4, 8), {0, 0}, 1));
  EXPECT_NO_THROW(slower(GPipe(4, 8), {0, 0}, 0));
}

TEST(Generators, RefuseWhatTheyCannotDo) {
  const auto refuses = [](auto make, const std::string& words) {
    const std::string message = MessageOf<ScheduleError>(make);
    EXPECT_NE(message.find(words), std::string::npos) << message;
  };
  refuses([] { return GPipe(4, 0); }, "1 to 1000000 micro-batches, not 0");
  refuses([] { return GPipe(0, 4); }, "at least 1 stage, not 0");
  refuses([] { return OneFOneB(-3, 4); }, "at least 1 stage, not -3");
  refuses([] { return InterleavedOneFOneB(4, 2, 6); }, "a multiple of the ranks, such as 8");
  refuses([] { return InterleavedOneFOneB(4, 1, 8); }, "2 chunks or more");
  refuses([] { return InterleavedOneFOneB(4, 0, 8); }, "at least 1 chunk, not 0");
  refuses([] { return InterleavedAny(4, 1, 8); }, "with 1 use 1f1b");
  refuses([] { return InterleavedZeroBubble(4, 2, 0); }, "1 to 1000000 micro-batches, not 0");
  refuses([] { return LoopedBreadthFirst(4, 1, 8); }, "2 chunks or more; with 1 use gpipe");
  refuses([] { return ZeroBubbleV(0, 8); }, "at least 1 stage, not 0");
  refuses([] { return DualPipeV(4, 0); }, "1 to 1000000 micro-batches, not 0");
  refuses([] { return WPipe(3, 4); }, "a multiple of the ranks, such as 6");
  refuses([] { return Naive(70000, 1); }, "more than 65536 chunks");
}

// ---- Policies: staleness, versions, and where the optimizer steps.

// The version that the forward of a micro-batch uses on a chunk.
int VersionOf(const Schedule& schedule, int chunk, int microbatch) {
  for (const Action& action : schedule.ranks[schedule.layout.chunk(chunk).rank]) {
    if (action.kind == ActionKind::kForward && action.chunk == chunk && action.microbatch == microbatch) {
      return action.version;
    }
  }
  return -1;
}

// After which micro-batch's weight gradient a version of a chunk is made.
int MadeAfter(const Schedule& schedule, int chunk, int version) {
  int last = -1;
  for (const Action& action : schedule.ranks[schedule.layout.chunk(chunk).rank]) {
    if (action.chunk != chunk) continue;
    if (GivesWeightGradient(action.kind)) last = action.microbatch;
    if (action.kind == ActionKind::kStep && action.version == version) return last;
  }
  return -1;
}

TEST(Policies, FlushStepsOnceAtTheEnd) {
  for (const Schedule& schedule : {Naive(3, 4), GPipe(3, 4), OneFOneB(3, 4), InterleavedOneFOneB(2, 3, 4),
                                   ZeroBubbleH1(3, 4), ZeroBubbleH2(3, 7)}) {
    SCOPED_TRACE(schedule.name);
    const Schedule flushed = Flush(schedule);
    EXPECT_EQ(Validate(AddCommunication(AddGradientReduction(flushed))).versions,
              std::vector<int>(schedule.layout.chunks(), 1));
    for (size_t rank = 0; rank < flushed.ranks.size(); ++rank) {
      EXPECT_EQ(flushed.ranks[rank].size(), schedule.ranks[rank].size() + schedule.layout.chunks_per_rank());
      EXPECT_EQ(flushed.ranks[rank].back().kind, ActionKind::kStep);
    }
    EXPECT_THROW(Flush(flushed), ScheduleError);
  }
}

TEST(Policies, PipeDreamUsesTheNewestWeightsOfEachStage) {
  for (int P = 1; P <= 6; ++P) {
    for (int m = 1; m <= 13; ++m) {
      const Schedule schedule = StashWeights(OneFOneB(P, m));
      SCOPED_TRACE(Label(schedule, {1, 2}));
      const Simulation run = SimulateBothWays(schedule, CostModel::Uniform(1, 2));
      EXPECT_NEAR(run.makespan, (m + P - 1) * 3, kNear);
      for (int s = 0; s < P; ++s) {
        for (int t = 0; t < m; ++t) {
          EXPECT_EQ(VersionOf(schedule, s, t), std::max(t - (P - 1 - s), 0));
          EXPECT_EQ(t - VersionOf(schedule, s, t), std::min(t, P - 1 - s));  // the staleness
          EXPECT_EQ(MadeAfter(schedule, s, t + 1), t);
        }
        if (m >= 2 * (P - s) - 2) {
          EXPECT_EQ(run.footprint.versions[s], P - s);
        } else {
          EXPECT_LT(run.footprint.versions[s], P - s);
        }
      }
    }
  }
}

TEST(Policies, VerticalSyncUsesOneVersionEverywhere) {
  for (int P = 1; P <= 6; ++P) {
    for (int m = 1; m <= 13; ++m) {
      const Schedule schedule = StashWeightsVerticalSync(OneFOneB(P, m));
      SCOPED_TRACE(Label(schedule, {1, 2}));
      const Simulation run = SimulateBothWays(schedule, CostModel::Uniform(1, 2));
      for (int s = 0; s < P; ++s) {
        for (int t = 0; t < m; ++t) {
          EXPECT_EQ(VersionOf(schedule, s, t), std::max(t - P + 1, 0));
          EXPECT_EQ(MadeAfter(schedule, s, t + 1), t);
        }
        if (m >= 2 * P) {
          EXPECT_EQ(run.footprint.versions[s], P);
        }
        EXPECT_LE(run.footprint.versions[s], P);
      }
    }
  }
}

TEST(Policies, TwoBuffersAreEnoughForDoubleBufferedWeights) {
  for (int P = 1; P <= 6; ++P) {
    for (int m = P; m <= P + 4; ++m) {
      for (int updates = 1; updates <= 4; ++updates) {
        const Schedule schedule = DoubleBufferWeights(OneFOneB(P, m * updates), m);
        SCOPED_TRACE(Label(schedule, {1, 2}));
        const Simulation run = SimulateBothWays(schedule, CostModel::Uniform(1, 2));
        EXPECT_NEAR(run.makespan, (m * updates + P - 1) * 3, kNear);
        EXPECT_EQ(static_cast<int>(run.messages.size()), 2 * m * updates * (P - 1));
        for (int s = 0; s < P; ++s) {
          for (int i = 0; i < m * updates; ++i) EXPECT_EQ(VersionOf(schedule, s, i), std::max(i / m - 1, 0));
          for (int t = 0; t < updates; ++t) EXPECT_EQ(MadeAfter(schedule, s, t + 1), (t + 1) * m - 1);
          EXPECT_EQ(run.footprint.versions[s], updates == 1 ? 1 : 2);
        }
      }
    }
  }
  EXPECT_THROW(DoubleBufferWeights(OneFOneB(4, 9), 3), ScheduleError);  // fewer than stages
  EXPECT_THROW(DoubleBufferWeights(OneFOneB(2, 9), 2), ScheduleError);  // an update cut short
}

TEST(Policies, WPipeKeepsOneAndAHalfModels) {
  for (int P = 1; P <= 5; ++P) {
    for (int n = 1; n <= 3; ++n) {
      for (int updates = 1; updates <= 4; ++updates) {
        const int m = n * P;
        const Schedule schedule = GroupWeights(WPipe(P, m * updates), m);
        SCOPED_TRACE(Label(schedule, {1, 2}));
        const Simulation run = SimulateBothWays(schedule, CostModel::Uniform(1, 2, 2));
        for (int chunk = 0; chunk < 2 * P; ++chunk) {
          const bool group_0 = chunk < P;
          for (int i = 0; i < m * updates; ++i) {
            EXPECT_EQ(VersionOf(schedule, chunk, i), group_0 ? std::max(i / m - 1, 0) : i / m);
          }
          for (int t = 0; t < updates; ++t) EXPECT_EQ(MadeAfter(schedule, chunk, t + 1), (t + 1) * m - 1);
          EXPECT_EQ(run.footprint.versions[chunk], group_0 && updates > 1 ? 2 : 1);
        }
      }
    }
  }
  EXPECT_THROW(GroupWeights(WPipe(4, 8), 6), ScheduleError);
  EXPECT_THROW(GroupWeights(WPipe(4, 8), 0), ScheduleError);
  EXPECT_THROW(GroupWeights(OneFOneB(4, 8), 4), ScheduleError);
}

// The table of traits says of every schedule what its lists do.
TEST(Traits, AreThoseOfTheLists) {
  constexpr int P = 3;
  constexpr int kChunks = 2;
  for (const ScheduleTraits& traits : AllScheduleTraits()) {
    SCOPED_TRACE(traits.name);
    const int m = traits.updates == Updates::kEachMicroBatch ? 1 : 2 * P;
    const int updates = traits.IsAsynchronous() ? 6 : 1;
    const Schedule schedule = ComputationOf(traits, P, kChunks, m, updates);
    EXPECT_EQ(schedule.name, traits.name);
    EXPECT_EQ(schedule.layout, traits.MakeLayout(P, kChunks));
    const auto has = [&](ActionKind kind) {
      return std::any_of(schedule.ranks.begin(), schedule.ranks.end(), [&](const std::vector<Action>& list) {
        return std::any_of(list.begin(), list.end(), [&](const Action& action) { return action.kind == kind; });
      });
    };
    EXPECT_EQ(has(ActionKind::kBackwardWeight), traits.splits_backward);
    EXPECT_EQ(has(ActionKind::kStep), traits.IsAsynchronous());
    for (int stage = 0; stage < schedule.layout.stages(); ++stage) {
      for (int t = 0; t < updates; ++t) {
        EXPECT_EQ(VersionOf(schedule, stage, t * m), traits.version(P, stage, t)) << "stage " << stage << ", " << t;
        const int made_after = traits.IsAsynchronous() ? (t + 1) * m - 1 : -1;
        EXPECT_EQ(MadeAfter(schedule, stage, t + 1), made_after);
      }
    }
    if (traits.whole_rounds) {
      EXPECT_THROW(ComputationOf(traits, P, kChunks, 2 * P + 1, 1), ScheduleError);
    } else if (m > 1) {
      EXPECT_NO_THROW(ComputationOf(traits, P, kChunks, 2 * P + 1, 1));
    }
  }
  ScheduleTraits unknown = TraitsOf("gpipe");
  unknown.name = "eager";
  EXPECT_THROW(ComputationOf(unknown, 2, 1, 2, 1), ContractError);
}

}  // namespace
}  // namespace shardlab
