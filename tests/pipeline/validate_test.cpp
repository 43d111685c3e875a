// Every way in which a schedule can be wrong, each in the smallest schedule that has it, with what is said of it; and
// what passes and cost models do to the right ones.

#include <string>

#include <gtest/gtest.h>

#include "../texts.hpp"
#include "shardlab/pipeline/generators.hpp"
#include "shardlab/pipeline/policies.hpp"
#include "shardlab/plan/passes.hpp"
#include "shardlab/plan/simulate.hpp"
#include "shardlab/plan/text.hpp"

namespace shardlab {
namespace {

const char kTwoStages[] = "schedule t\nlayout linear 2\nmicro-batches 2\n";

// Expects that the schedule fails at an entry and says why, with that entry in brackets in the table.
void ExpectFault(const std::string& text, int rank, int step, const std::string& cell, const std::string& words,
                 const RunRules& rules = {}) {
  SCOPED_TRACE(text);
  try {
    Validate(ParseSchedule(text), rules);
    ADD_FAILURE() << "passes; expected: " << words;
  } catch (const ScheduleError& error) {
    EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    EXPECT_EQ(error.rank(), rank) << error.what();
    EXPECT_EQ(error.step(), step) << error.what();
    EXPECT_NE(error.table().find("[" + cell + "]"), std::string::npos) << error.table();
  }
}

TEST(Validate, EntriesAreOnesThatTheRankCanDo) {
  const std::string head = kTwoStages;
  ExpectFault(head + "rank 0: 0F0 7F0\nrank 1:\n", 0, 1, "7F0", "has the chunks 0 to 1");
  ExpectFault(head + "rank 0: 0F0\nrank 1: 0F1\n", 1, 0, "0F1", "chunk 0 is on rank 0");
  ExpectFault(head + "rank 0: 0F0 0F2\nrank 1:\n", 0, 1, "0F2", "the micro-batches are 0 to 1");
  ExpectFault(head + "rank 0: 0F0 0F1 0F0\nrank 1:\n", 0, 2, "0F0", "already at step 0");
  ExpectFault(head + "rank 0: 0STEP\nrank 1:\n", 0, 0, "0STEP", "from 1 on: 0STEP@1");
}

TEST(Validate, EveryMicrobatchGoesThereAndBack) {
  const std::string head = kTwoStages;
  const std::string good = "rank 1: 1F0 1B0 1F1 1B1\n";
  ExpectFault(head + "rank 0: 0F0 0B0\n" + good, 0, 2, "end", "the forward 0F1 is missing");
  ExpectFault(head + "rank 0: 0F0 0B0 0F1\n" + good, 0, 2, "0F1", "the backward 0B1 (or 0I1 and 0W1) is missing");
  ExpectFault(head + "rank 0: 0F0 0B0 0F1 0I1\n" + good, 0, 3, "0I1", "the weight half 0W1 is missing");
  ExpectFault(head + "rank 0: 0F0 0B0 0F1 0W1\n" + good, 0, 3, "0W1", "the input half 0I1 is missing");
  ExpectFault(head + "rank 0: 0F0 0B0 0F1 0B1 0W1\n" + good, 0, 3, "0B1", "whole and in halves");
  Validate(ParseSchedule(head + "rank 0: 0F0 0F1\nrank 1: 1F0 1F1\n"));  // an evaluation
  const std::string mirrored = "schedule t\nlayout bidirectional 1\nmicro-batches 1\n";
  ExpectFault(mirrored + "rank 0: 0F0 0B0 1F0 1B0\n", 0, 2, "1F0", "already runs in replica 0");
  ExpectFault(mirrored + "rank 0: 0F0 0B0 1B0\n", 0, 2, "1B0", "has no forward 1F0");
}

TEST(Validate, NothingComesBeforeWhatItNeeds) {
  const std::string head = kTwoStages;
  ExpectFault(head + "rank 0: 0B0 0F0 0F1 0B1\nrank 1: 1F0 1B0 1F1 1B1\n", 0, 0, "0B0",
              "0B0 needs 0F0, which comes only at step 1");
  ExpectFault(head + "rank 0: 0F0 0B0 0F1 0W1 0I1\nrank 1: 1F0 1B0 1F1 1B1\n", 0, 3, "0W1", "0W1 needs 0I1");
  ExpectFault("schedule t\nlayout looped 1 2\nmicro-batches 1\nrank 0: 0F0 1F0 0B0 1B0\n", 0, 2, "0B0",
              "0B0 needs 1B0 or 1I0");
  ExpectFault(head + "rank 0: 0F0 0B0 0R0 0F1 0B1\nrank 1: 1F0 1B0 1F1 1B1\n", 0, 2, "0R0", "comes after the backward");
}

TEST(Validate, VersionsAreConsistent) {
  const std::string head = kTwoStages;
  const std::string good = "rank 1: 1F0 1B0 1F1 1B1 1STEP@1\n";
  ExpectFault(head + "rank 0: 0F0 0B0 0STEP@1 0F1 0B1@1 0STEP@2\n" + good, 0, 4, "0B1@1",
              "but its forward used version 0");
  ExpectFault(head + "rank 0: 0F0@1 0B0@1 0STEP@1 0F1 0B1 0STEP@2\n" + good, 0, 0, "0F0@1",
              "0F0@1 needs 0STEP@1, which comes only at step 2");
  ExpectFault(head + "rank 0: 0F0@1 0B0@1 0F1 0B1\n" + good, 0, 0, "0F0@1", "which is nowhere");
  ExpectFault(head + "rank 0: 0F0 0B0 0STEP@2 0F1 0B1\n" + good, 0, 2, "0STEP@2", "the next version of chunk 0 is 1");
  ExpectFault(head + "rank 0: 0F0 0B0 0STEP@1 0F1 0B1\n" + good, 0, 4, "0B1", "its weight gradient is never used");
  ExpectFault(head + "rank 0: 0F0 0B0 0REDUCE_GRAD@1 0F1 0B1 0STEP@1\n" + good, 0, 4, "0B1", "in neither sum");
  const std::string mirrored = "schedule t\nlayout bidirectional 2\nmicro-batches 1\n";
  ExpectFault(mirrored + "rank 0: 0F0 0B0 0STEP@1\nrank 1: 1F0 1B0\n", 0, 2, "0STEP@1",
              "other ranks hold the same weights");
}

TEST(Validate, MessagesAreExactlyThoseThatAreNeeded) {
  const std::string head = "schedule t\nlayout linear 2\nmicro-batches 1\n";
  const std::string rank_0 = "rank 0: 0F0 0SEND_F0 0RECV_B0 0B0\n";
  const std::string rank_1 = "rank 1: 1RECV_F0 1F0 1B0 1SEND_B0\n";
  Validate(ParseSchedule(head + rank_0 + rank_1));
  ExpectFault(head + "rank 0: 0F0 0RECV_B0 0B0\n" + rank_1, 0, 3, "end", "0SEND_F0 is missing: 1F0 on rank 1 needs it");
  ExpectFault(head + rank_0 + "rank 1: 1F0 1B0 1SEND_B0\n", 1, 0, "1F0", "1F0 needs 1RECV_F0, which is nowhere");
  ExpectFault(head + rank_0 + "rank 1: 1F0 1RECV_F0 1B0 1SEND_B0\n", 1, 0, "1F0", "which comes only at step 1");
  ExpectFault(head + "rank 0: 0SEND_F0 0F0 0RECV_B0 0B0\n" + rank_1, 0, 0, "0SEND_F0", "0SEND_F0 needs 0F0");
  ExpectFault(head + rank_0 + "rank 1: 1RECV_F0 1F0 1B0 1SEND_B0 1SEND_F0\n", 1, 4, "1SEND_F0", "nobody to send to");
  ExpectFault("schedule t\nlayout looped 1 2\nmicro-batches 1\nrank 0: 0F0 0SEND_F0 1F0 1B0 0B0\n", 0, 1, "0SEND_F0",
              "no computation needs this message");
}

TEST(Validate, DeadlocksAreTold) {
  // Each rank wants the other's micro-batch first.
  ExpectFault(
      std::string(kTwoStages) + "rank 0: 0F0 0B0 0F1 0B1\nrank 1: 1F1 1B1 1F0 1B0\n", 0, 1, "0B0",
      "t: deadlock: rank 0 is at 0B0 and waits for 1B0 or 1I0 of rank 1; rank 1 is at 1F1 and waits for 0F1 of rank 0");
  try {
    Validate(ParseSchedule(std::string(kTwoStages) + "rank 0: 0F0 0B0 0F1 0B1\nrank 1: 1F1 1B1 1F0 1B0\n"));
  } catch (const ScheduleError& error) {
    EXPECT_EQ(error.table(),
              "  rank 0   0F0 [0B0] 0F1 0B1       step 1: waits for 1B0 or 1I0, step 3 of rank 1\n"
              "  rank 1       [1F1] 1B1 1F0 1B0   step 0: waits for 0F1, step 2 of rank 0\n");
  }
  // The same reductions in different order.
  const std::string text =
      "schedule g\nlayout bidirectional 2\nmicro-batches 2\n"
      "rank 0: 0F0 0B0 3F1 3B1 0REDUCE_GRAD@1 0STEP@1 3REDUCE_GRAD@1 3STEP@1\n"
      "rank 1: 1F0 1B0 2F1 2B1 ";
  Validate(ParseSchedule(text + "2REDUCE_GRAD@1 2STEP@1 1REDUCE_GRAD@1 1STEP@1\n"));
  ExpectFault(text + "1REDUCE_GRAD@1 1STEP@1 2REDUCE_GRAD@1 2STEP@1\n", 0, 4, "0REDUCE_GRAD@1",
              "rank 0 is at 0REDUCE_GRAD@1 and waits for 2REDUCE_GRAD@1 of rank 1");
  // A send that waits for a receive that is behind another send.
  ExpectFault(FormatSchedule(AddCommunication(OneFOneB(2, 3), 0)), 0, 3, "0SEND_F1",
              "deadlock: rank 0 is at 0SEND_F1 and waits for 1RECV_F1 of rank 1; rank 1 is at 1SEND_B0", {0, 0});
}

TEST(Validate, LongCirclesAreCutShort) {
  // Rank r waits for rank r+1, all the way round.
  constexpr int kRanks = 40;
  Schedule schedule("circle", Layout::Looped(kRanks, 2), 2);
  for (int rank = 0; rank < kRanks; ++rank) {
    // First the second visit of micro-batch 0, which needs everybody's first.
    for (const int chunk : {rank + kRanks, rank}) {
      for (int i = 0; i < 2; ++i) schedule.ranks[rank].push_back(Action::Forward(chunk, i));
    }
  }
  try {
    Validate(schedule);
    FAIL();
  } catch (const ScheduleError& error) {
    EXPECT_LT(std::string(error.what()).size(), 500u) << error.what();
    EXPECT_NE(error.table().find("and 8 more ranks"), std::string::npos) << error.table();
  }
}

// ---- Pairs: two entries that are one.

// Rank 0's forward of micro-batch 1 on its second chunk runs beside the backward of micro-batch 0 on its first.
const char kPaired[] =
    "schedule p\nlayout vee 2 2\nmicro-batches 2\n"
    "rank 0: 0F0 3F0 3B0 0F1 (3F1;0B0)OVERLAP_F_B 3B1 0B1\nrank 1: 1F0 2F0 1F1 2F1 2B0 1B0 2B1 1B1\n";

TEST(Pairs, BeginWhenWhatBothNeedIsThereAndTakeTheirShare) {
  const Schedule schedule = ParseSchedule(kPaired);
  CostModel costs;
  costs.pair = 0.75;
  const Simulation run = Simulate(schedule, costs);
  const Span& forward = run.ranks[0][4];
  const Span& backward = run.ranks[0][5];
  EXPECT_EQ(forward.action.kind, ActionKind::kForward);
  EXPECT_EQ(forward.begin, run.ranks[1][5].end) << "1B0, which 0B0 waits for; 3F1 had what it needs long before";
  EXPECT_EQ(forward.end - forward.begin, 0.75 * (1 + 2));
  EXPECT_EQ(backward.begin, forward.begin);
  EXPECT_EQ(backward.end, forward.end);
  EXPECT_EQ(run.busy[0], 3 * 1 + 3 * 2 + 0.75 * 3) << "the time of a pair counts once";
  EXPECT_TRUE(ClosesPair(run.ranks[0], 5));
  EXPECT_FALSE(ClosesPair(run.ranks[0], 4));
}

TEST(Pairs, NothingComesBetween) {
  const Schedule schedule = ParseSchedule(kPaired);
  for (const int ahead : {0, 1, 3}) {
    const Schedule complete = AddCommunication(AddRecompute(Flush(schedule), Recompute::kAlways), ahead);
    Validate(complete);
    EXPECT_EQ(ParseSchedule(FormatSchedule(complete)), complete);
    EXPECT_NE(FormatSchedule(complete).find("(3F1;0B0)OVERLAP_F_B"), std::string::npos) << FormatSchedule(complete);
  }
  EXPECT_NE(FormatSchedule(AddCommunication(schedule, 0)).find("3RECV_F1 0RECV_B0 (3F1;0B0)OVERLAP_F_B"),
            std::string::npos)
      << FormatSchedule(AddCommunication(schedule, 0));
}

TEST(Pairs, HalvesDoNotNeedEachOther) {
  const std::string head = kTwoStages;
  ExpectFault(head + "rank 0: 0F0 0F1 0B0 0B1\nrank 1: (1F0;1B0)OVERLAP_F_B 1F1 1B1\n", 1, 0, "(1F0;",
              "the two of a pair run at once, and 1B0 needs 1F0: make them two entries");
  // 0B0 needs 1B0, which needs 1F0, which needs 0F0, the other half.
  ExpectFault(head + "rank 0: 0F1 (0F0;0B1)OVERLAP_F_B 0B0\nrank 1: 1F0 1B0 1F1 1B1\n", 0, 1, "(0F0;", "deadlock");
  Schedule open = ParseSchedule(kPaired);
  open.ranks[0][0].opens_pair = true;
  EXPECT_NE(MessageOf<ScheduleError>([&] { Validate(open); }).find("0F0 opens a pair: a pair is a forward and"),
            std::string::npos);
}

TEST(Passes, ReceivesArePostedAhead) {
  const auto rank_0 = [](int ahead) {
    std::string text;
    const Schedule schedule = AddCommunication(OneFOneB(2, 3), ahead);
    for (const Action& action : schedule.ranks[0]) text += ToString(action) + " ";
    return text;
  };
  EXPECT_EQ(rank_0(0), "0F0 0SEND_F0 0F1 0SEND_F1 0RECV_B0 0B0 0F2 0SEND_F2 0RECV_B1 0B1 0RECV_B2 0B2 ");
  EXPECT_EQ(rank_0(1), "0F0 0SEND_F0 0RECV_B0 0F1 0SEND_F1 0B0 0RECV_B1 0F2 0SEND_F2 0RECV_B2 0B1 0B2 ");
  EXPECT_THROW(AddCommunication(AddCommunication(OneFOneB(2, 3))), ScheduleError);
  EXPECT_THROW(AddCommunication(OneFOneB(2, 3), -1), ScheduleError);
}

TEST(Passes, MessagesTravelWhileTheRankComputes) {
  CostModel costs = CostModel::Uniform(1, 1);
  costs.message = {1};
  // GPipe's rank 1 has the next input on its way while it computes; without posting ahead every message is waited for.
  const double ahead = Simulate(AddCommunication(GPipe(2, 8), 1), costs).makespan;
  const double late = Simulate(AddCommunication(GPipe(2, 8), 0), costs).makespan;
  EXPECT_EQ(ahead, 2 * (8 + 1) + 2);
  EXPECT_EQ(late, 2 * (8 + 1) + 2 + 2 * 7);
}

TEST(Passes, RecomputationRunsTheForwardAgain) {
  for (int m = 1; m <= 5; ++m) {
    const auto calls = [&](Recompute mode) {
      int count = 0;
      const Schedule schedule = AddRecompute(OneFOneB(3, m), mode);
      for (const Action& action : schedule.ranks[1]) {
        count += action.kind == ActionKind::kForward || action.kind == ActionKind::kRecompute;
      }
      return count;
    };
    EXPECT_EQ(calls(Recompute::kAlways), 2 * m);
    EXPECT_EQ(calls(Recompute::kExceptLast), 2 * m - 1);
    EXPECT_EQ(calls(Recompute::kNever), m);
  }
  // GPipe keeps eight inputs and one set of activations, and takes m forwards longer.
  const Simulation run = Simulate(AddCommunication(AddRecompute(Flush(GPipe(3, 8)), Recompute::kAlways)));
  EXPECT_EQ(run.footprint.live, std::vector<int>(3, 1));
  EXPECT_EQ(run.footprint.kept_inputs, std::vector<int>(3, 8));
  EXPECT_EQ(run.makespan, (8 + 2) * 3 + 8);  // the recomputation of the first backward runs while gradients travel
  // Weight versions go along.
  Validate(AddCommunication(AddRecompute(DoubleBufferWeights(OneFOneB(3, 12), 4), Recompute::kExceptLast, 4)));
  Validate(AddCommunication(AddRecompute(StashWeights(OneFOneB(3, 12)), Recompute::kAlways)));
  EXPECT_THROW(AddRecompute(AddRecompute(GPipe(2, 2), Recompute::kAlways), Recompute::kAlways), ScheduleError);
  EXPECT_THROW(AddRecompute(GPipe(2, 5), Recompute::kExceptLast, 2), ScheduleError);
}

TEST(Simulate, StagesMayDiffer) {
  // The middle stage sets the pace, 2 + 4 a micro-batch.
  CostModel costs;
  costs.forward = {1, 2, 1};
  costs.backward_input = {1, 2, 1};
  costs.backward_weight = {1, 2, 1};
  const Simulation run = Simulate(OneFOneB(3, 10), costs);
  EXPECT_EQ(run.busy, (std::vector<double>{30, 60, 30}));
  // It starts after the first forward of stage 0, waits once, for its first gradient, and stage 0's last backward
  // follows.
  EXPECT_EQ(run.makespan, 1 + 1 + 10 * 6 + 2);
}

TEST(Simulate, BytesAreThoseOfTheBoundaries) {
  CostModel costs;
  costs.boundary_bytes = {100, 10, 1};  // nothing lies behind the last stage
  EXPECT_EQ(Simulate(AddCommunication(GPipe(3, 5)), costs).bytes, 2 * 5 * 110);
  EXPECT_EQ(Simulate(GPipe(3, 5), costs).bytes, 0);  // no messages in it
}

TEST(Simulate, ReductionsWaitForBothTwins) {
  const std::string text =
      "schedule g\nlayout bidirectional 2\nmicro-batches 1\n"
      "rank 0: 0F0 0B0 0REDUCE_GRAD@1 0STEP@1 3REDUCE_GRAD@1 3STEP@1\n"
      "rank 1: 1F0 1B0 2REDUCE_GRAD@1 2STEP@1 1REDUCE_GRAD@1 1STEP@1\n";
  CostModel costs;
  costs.reduce = {10};
  costs.step = {1};
  const Simulation run = Simulate(ParseSchedule(text), costs);
  EXPECT_EQ(run.ranks[1][2].begin, 6);  // rank 0 is in its backward until then
  EXPECT_EQ(run.makespan, 6 + 2 * 11);
}

TEST(Simulate, RefusesImpossibleCosts) {
  const auto error_of = [](const CostModel& costs) {
    return MessageOf<ScheduleError>([&] { Simulate(GPipe(3, 2), costs); });
  };
  CostModel costs;
  costs.forward = {-1};
  EXPECT_EQ(error_of(costs), "the forward time is -1: it has to be 0 to 1e+12");
  costs.forward = {1, 2};
  EXPECT_EQ(error_of(costs), "the forward time has 2 entries: give one for all, or one for each of the 3 stages");
  costs.forward = {std::numeric_limits<double>::quiet_NaN()};
  EXPECT_EQ(error_of(costs), "the forward time is nan: it has to be 0 to 1e+12");
  costs.forward = {0};
  costs.backward_input = {0};
  costs.backward_weight = {0};
  EXPECT_EQ(Simulate(GPipe(3, 2), costs).bubble, 0);  // no time at all
  costs.pair = 1.5;
  EXPECT_EQ(error_of(costs), "the share of a pair is 1.5: it has to be above 0 and at most 1");
  costs.pair = 1;
  costs.boundary_bytes = {std::numeric_limits<int64_t>::max()};
  EXPECT_EQ(error_of(costs), "the number of boundary bytes is 9223372036854775807: it has to be 0 to 1e+12");
}

TEST(Layers, AStageIsNeverEmpty) {
  RequireLayers(Layout::Linear(4), 4);
  EXPECT_EQ(MessageOf<ScheduleError>([] { RequireLayers(Layout::Looped(4, 2), 7); }),
            "a model of 7 layers cannot be cut into 8 stages without an empty one: use at most 7");
}

}  // namespace
}  // namespace shardlab
