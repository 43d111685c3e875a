// Actions, layouts and schedules as text: both forms, both ways, and what is said of text that is neither.

#include <string>

#include <gtest/gtest.h>

#include "../texts.hpp"
#include "shardlab/pipeline/generators.hpp"
#include "shardlab/pipeline/policies.hpp"
#include "shardlab/plan/dependencies.hpp"
#include "shardlab/plan/passes.hpp"
#include "shardlab/plan/simulate.hpp"
#include "shardlab/plan/text.hpp"

namespace shardlab {
namespace {

void ExpectError(const std::string& error, const std::string& words) {
  EXPECT_NE(error.find(words), std::string::npos) << error;
  EXPECT_EQ(error.find('\n'), std::string::npos) << "more than one line: " << error;
}

TEST(Text, ActionsPrintAndParse) {
  for (const char* text : {"0F0", "2F0", "1B3", "1I3", "1W3", "0R2", "0SEND_F2", "12RECV_F345", "1SEND_B2", "0RECV_B2",
                           "2F5@1", "2REDUCE_GRAD@1", "2STEP@12"}) {
    EXPECT_EQ(ToString(ParseAction(text)), text);
  }
  EXPECT_EQ(ParseAction("3I7@2"), (Action{ActionKind::kBackwardInput, 3, 7, 2}));
  EXPECT_EQ(ParseAction("3BW7"), (Action{ActionKind::kBackward, 3, 7}));
  for (const char* text : {"", "F0", "2", "2F", "2X0", "2F0x", "-1F0", "2F-1", "2F0@", "2F0@x", "0SEND_F2@1", "2f0",
                           "99999999999F0", "2STEP0"}) {
    ExpectError(MessageOf<ScheduleError>([&] { ParseAction(text); }),
                "is not an action: write chunk, kind and micro-batch");
  }
}

TEST(Text, LayoutsPrintAndParse) {
  for (const char* text : {"linear 4", "looped 4 2", "vee 3 2", "bidirectional 5"}) {
    EXPECT_EQ(ToString(ParseLayout(text)), text);
  }
  for (const char* text : {"", "linear", "linear x", "linear 4 2", "looped 4", "ring 4"}) {
    ExpectError(MessageOf<ScheduleError>([&] { ParseLayout(text); }), "is not a layout");
  }
  ExpectError(MessageOf<ScheduleError>([] { ParseLayout("linear 0"); }), "at least 1 stage");
}

// The figure in layout.hpp.
TEST(Text, LayoutsPlaceChunks) {
  const auto places = [](const Layout& layout) {
    std::string text;
    for (int rank = 0; rank < layout.ranks(); ++rank) {
      for (const int chunk : layout.ChunksOf(rank)) text += std::to_string(chunk) + " ";
      text += "| ";
    }
    return text;
  };
  EXPECT_EQ(places(Layout::Linear(3)), "0 | 1 | 2 | ");
  EXPECT_EQ(places(Layout::Looped(3, 2)), "0 3 | 1 4 | 2 5 | ");
  EXPECT_EQ(places(Layout::Vee(3)), "0 5 | 1 4 | 2 3 | ");
  EXPECT_EQ(places(Layout::Bidirectional(3)), "0 5 | 1 4 | 2 3 | ");

  const Layout twins = Layout::Bidirectional(3);
  EXPECT_EQ(twins.stages(), 3);
  EXPECT_EQ(twins.chunk(4).stage, 1);
  EXPECT_EQ(twins.chunk(3).previous, -1);
  EXPECT_EQ(twins.chunk(2).next, -1);
  EXPECT_EQ(twins.TwinsOf(5), std::vector<int>{2});
  EXPECT_EQ(Layout::Vee(3).chunk(3).previous, 2);
  EXPECT_TRUE(Layout::Looped(3, 2).TwinsOf(5).empty());
}

TEST(Text, OwnFormGoesBothWays) {
  for (const Schedule& schedule :
       {Naive(1, 1), GPipe(4, 8), AddCommunication(AddRecompute(Flush(OneFOneB(3, 5)), Recompute::kExceptLast)),
        AddCommunication(GroupWeights(WPipe(3, 12), 6)), StashWeights(OneFOneB(3, 40)),
        AddGradientReduction(Flush(Schedule("two words", Layout::Bidirectional(3), 1)))}) {
    const std::string text = FormatSchedule(schedule);
    EXPECT_EQ(ParseSchedule(text), schedule) << text;
    EXPECT_EQ(ReadSchedule("# a comment\n\n" + text), schedule);
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = text.find('\n', begin);
      EXPECT_LE(end - begin, 110u);
      begin = end + 1;
    }
  }
}

TEST(Text, OwnFormNamesTheLine) {
  const auto error_of = [](const std::string& text) { return MessageOf<ScheduleError>([&] { ParseSchedule(text); }); };
  const std::string head = "schedule x\nlayout linear 2\nmicro-batches 1\n";
  ExpectError(error_of(head + "rank 0: 0F0 0Q0\n"), "line 4: '0Q0' is not an action");
  ExpectError(error_of(head + "rank 0: 0F0\n  0B0 oops\n"), "line 5: 'oops' is not an action");
  ExpectError(error_of(head + "rank 0 0F0\n"), "line 4: a rank's list begins like 'rank 0:'");
  ExpectError(error_of(head + "rank x: 0F0\n"), "line 4: 'x' is not a number");
  ExpectError(error_of(head + "rank 0: 0F0\nrank 0: 0B0\n"), "line 5: a second list of rank 0");
  ExpectError(error_of(head + "rank 7: 0F0\n"), "a list for rank 7, but the layout 'linear 2' has the ranks 0 to 1");
  ExpectError(error_of(head + "layout linear 3\n"), "line 4: a second 'layout'");
  ExpectError(error_of("  0F0\n" + head), "line 1: an indented line continues a 'rank' line");
  ExpectError(error_of("schedule x\nmicro-batches 1\n"), "there is no line 'layout'");
  ExpectError(error_of("layout linear 2\n"), "there is no line 'micro-batches'");
  ExpectError(error_of("layout linear 2\nmicro-batches many\n"), "line 2: 'many' is not a number of micro-batches");
  ExpectError(error_of("layout linear 2\nmicro-batches 0\n"), "1 to 1000000 micro-batches, not 0");
  ExpectError(error_of("color blue\n"), "line 1: 'color' begins no line");
}

TEST(Text, PyTorchCsvGoesBothWays) {
  for (Schedule schedule : {GPipe(4, 8), OneFOneB(3, 5), InterleavedOneFOneB(3, 2, 6), ZeroBubbleH1(4, 8),
                            AddCommunication(ZeroBubbleH2(3, 6)), AddCommunication(InterleavedOneFOneB(2, 3, 4))}) {
    EXPECT_EQ(FromPyTorchCsv(ToPyTorchCsv(schedule), schedule.name), schedule);
    EXPECT_EQ(ReadSchedule(ToPyTorchCsv(schedule), schedule.name), schedule);
  }
  EXPECT_EQ(ToPyTorchCsv(Flush(OneFOneB(2, 2))), "0F0,0F1,0B0,0B1\n1F0,1B0,1F1,1B1\n");
}

// In the notation of PyTorch's own golden files, with their idle cells, old and new names of a backward, sharded
// weights and overlapped pairs.
TEST(Text, PyTorchCsvOfEveryAge) {
  const Schedule old = FromPyTorchCsv("0F0,,0BW0\n,1F0,1B0,1W0\n");
  EXPECT_EQ(old.layout, Layout::Linear(2));
  EXPECT_EQ(old.ranks[0], (std::vector<Action>{Action::Forward(0, 0), Action::Backward(0, 0)}));
  EXPECT_EQ(old.ranks[1],
            (std::vector<Action>{Action::Forward(1, 0), Action::BackwardInput(1, 0), Action::BackwardWeight(1, 0)}));
  EXPECT_EQ(Simulate(old).makespan, 1 + 1 + 1 + 2);

  const Schedule sharded =
      FromPyTorchCsv("0UNSHARD,0F0,0RESHARD,0B0,0REDUCE_GRAD\r\n1UNSHARD,1F0,1B0,1REDUCE_GRAD\r\n\r\n");
  EXPECT_EQ(FormatSchedule(sharded),
            "schedule csv\nlayout linear 2\nmicro-batches 1\nrank 0: 0F0 0B0 0REDUCE_GRAD@1\nrank 1: 1F0 1B0 "
            "1REDUCE_GRAD@1\n");

  const Schedule vee =
      FromPyTorchCsv("0F0,3F0,3I0,3W0,0F1,(3F1;0B0)OVERLAP_F_B,3B1,0B1\n1F0,2F0,1F1,2F1,2B0,1B0,2B1,1B1\n");
  EXPECT_EQ(vee.layout, Layout::Vee(2));
  EXPECT_EQ(vee.microbatches, 2);
  EXPECT_NO_THROW(Validate(vee));
  Action opens = Action::Forward(3, 1);
  opens.opens_pair = true;
  EXPECT_EQ(vee.ranks[0][5], opens);
  EXPECT_EQ(vee.ranks[0][6], Action::Backward(0, 0));
  EXPECT_EQ(FromPyTorchCsv(ToPyTorchCsv(vee)), vee);
  EXPECT_EQ(ParseSchedule(FormatSchedule(vee)), vee);
  std::string skipped = "as before";
  FromPyTorchCsv("0F0,0B0\n", "csv", &skipped);
  EXPECT_EQ(skipped, "");
  FromPyTorchCsv("0UNSHARD,0F0,0UNSHARD,0B0,0RESHARD\n", "csv", &skipped);
  EXPECT_EQ(skipped, "1 RESHARD and 2 UNSHARD");
}

TEST(Text, PyTorchCsvNamesTheCell) {
  const auto error_of = [](const std::string& text) { return MessageOf<ScheduleError>([&] { FromPyTorchCsv(text); }); };
  ExpectError(error_of("0F0,0B0\n1F0,what\n"), "line 2, cell 2: 'what' is not an action");
  ExpectError(error_of("0F0,(0F1;0B0\n"), "line 1, cell 2: '(0F1;0B0' is no pair");
  ExpectError(error_of("0F0\n0B0\n"), "line 2, cell 1: 0B0 is here, and as many actions of stage 0 are on line 1");
  // The one that strayed, whichever line is read first.
  ExpectError(error_of("1F1,0F0,0F1,0B0,0B1\n1F0,1B0,1B1\n"),
              "line 1, cell 1: 1F1 is here, and stage 1 is on line 2, with 3 of its actions");
  ExpectError(error_of("0F0,0F1,0B0,0B1\n1F0,1B0,1F1,0F2,1B1\n"), "line 2, cell 4: 0F2 is here");
  ExpectError(error_of("0F0,2F0\n3F0,1F0\n4F0,5F0\n"), "neither linear, looped nor a vee");
  ExpectError(error_of("\n\n"), "no action");
  ExpectError(error_of(""), "no action");
  ExpectError(error_of("999999999F0\n"), "more than 65536 chunks");
  ExpectError(error_of("0F999999999\n"), "not 1000000000");

  ExpectError(MessageOf<ScheduleError>([] { ToPyTorchCsv(StashWeights(OneFOneB(2, 3))); }), "PyTorch's CSV cannot say");
  ExpectError(MessageOf<ScheduleError>([] { ToPyTorchCsv(AddRecompute(GPipe(2, 3), Recompute::kAlways)); }),
              "no recomputation");
}

// ---- The figure in dependencies.hpp.

TEST(Dependencies, AreThoseOfTheFigure) {
  const Layout layout = Layout::Looped(2, 2);  // chunks 0 and 2 on rank 0, 1 and 3 on rank 1
  const auto needs = [&](const char* text) {
    std::string all;
    for (const Dependency& need : Dependencies(layout, ParseAction(text))) {
      for (const Action& option : need.any_of) all += ToString(option) + " ";
      all += need.via == Via::kMemory ? "memory; " : need.via == Via::kMessage ? "message; " : "together; ";
    }
    return all;
  };
  EXPECT_EQ(needs("0F5"), "");
  EXPECT_EQ(needs("1F5"), "0F5 message; ");
  EXPECT_EQ(needs("3B5"), "3F5 memory; ");
  EXPECT_EQ(needs("1I5@2"), "1F5 memory; 2B5 2I5 message; 1STEP@2 memory; ");
  EXPECT_EQ(needs("1W5"), "1I5 memory; ");
  EXPECT_EQ(needs("1R5"), "1F5 memory; ");
  EXPECT_EQ(needs("1SEND_F5"), "1F5 memory; ");
  EXPECT_EQ(needs("1SEND_B5"), "1B5 1I5 memory; ");
  EXPECT_EQ(needs("2RECV_F5"), "1SEND_F5 message; ");
  EXPECT_EQ(needs("2RECV_B5"), "3SEND_B5 message; ");
  EXPECT_EQ(needs("1STEP@3"), "");
  EXPECT_THROW(needs("4F0"), ScheduleError);
  EXPECT_THROW(needs("0RECV_F0"), ScheduleError);

  const auto twins = Dependencies(Layout::Bidirectional(4), ParseAction("1REDUCE_GRAD@1"));
  ASSERT_EQ(twins.size(), 1u);
  EXPECT_EQ(twins[0].via, Via::kCollective);
  EXPECT_EQ(ToString(twins[0].any_of[0]), "5REDUCE_GRAD@1");
  // The middle of three holds both copies itself.
  EXPECT_TRUE(Dependencies(Layout::Bidirectional(3), ParseAction("1REDUCE_GRAD@1")).empty());
}

}  // namespace
}  // namespace shardlab
