#include <gtest/gtest.h>

#include <map>
#include <utility>

#include "message_steps.hpp"

// The steps that the tree cases count, on programs whose steps can be counted by hand.

namespace shardlab::grade {
namespace {

/// Announcements of a program, in the order in which they are written down.
class Program {
 public:
  /// `from` starts to send to `to`.
  Program& Send(int from, int to) { return Post(OpKind::kSend, from, to); }
  /// `rank` starts to receive from `from`.
  Program& Post(int rank, int from) { return Post(OpKind::kRecv, rank, from); }
  /// `rank` has received from `from`.
  Program& Received(int rank, int from) {
    Event event;
    event.rank = rank;
    event.record.kind = RecordKind::kUnblock;
    event.record.id = receive_.at({rank, from});
    outcome_.events.push_back(event);
    return *this;
  }
  /// A whole message: sent, and received at once.
  Program& Message(int from, int to) { return Send(from, to).Post(to, from).Received(to, from); }

  int64_t Steps() const { return OneAtATimeSteps(outcome_); }

 private:
  Program& Post(OpKind op, int rank, int peer) {
    Event event;
    event.rank = rank;
    event.record.kind = RecordKind::kPost;
    event.record.op = op;
    event.record.peer = peer;
    event.record.id = ++last_id_;
    if (op == OpKind::kRecv) receive_[{rank, peer}] = last_id_;
    outcome_.events.push_back(event);
    return *this;
  }

  CaseOutcome outcome_;
  std::map<std::pair<int, int>, uint64_t> receive_;
  uint64_t last_id_ = 0;
};

TEST(OneAtATimeSteps, NothingTakesNoTime) { EXPECT_EQ(Program().Steps(), 0); }

TEST(OneAtATimeSteps, AStarTakesAStepForEachOfItsRays) {
  EXPECT_EQ(Program().Message(0, 1).Message(0, 2).Message(0, 3).Steps(), 3);
  EXPECT_EQ(Program().Message(1, 0).Message(2, 0).Message(3, 0).Steps(), 3);
}

TEST(OneAtATimeSteps, StartingAllSendsAtOnceChangesNothing) {
  Program program;
  program.Send(0, 1).Send(0, 2).Send(0, 3);
  program.Post(1, 0).Received(1, 0).Post(2, 0).Received(2, 0).Post(3, 0).Received(3, 0);
  EXPECT_EQ(program.Steps(), 3);
}

TEST(OneAtATimeSteps, AChainTakesAStepForEachLink) {
  EXPECT_EQ(Program().Message(0, 1).Message(1, 2).Message(2, 3).Steps(), 3);
}

TEST(OneAtATimeSteps, ABinomialTreeTakesTheLogarithm) {
  EXPECT_EQ(Program().Message(0, 2).Message(0, 1).Message(2, 3).Steps(), 2);
  // The smaller subtree first: rank 2 begins a step later.
  EXPECT_EQ(Program().Message(0, 1).Message(0, 2).Message(2, 3).Steps(), 3);
}

TEST(OneAtATimeSteps, SwappingIsOneStep) {
  Program program;
  program.Send(0, 1).Send(1, 0).Post(0, 1).Post(1, 0).Received(0, 1).Received(1, 0);
  EXPECT_EQ(program.Steps(), 1);
}

TEST(OneAtATimeSteps, ARingPassesOnInTurn) {
  Program program;
  for (int round = 0; round < 2; ++round) {
    for (int rank = 0; rank < 3; ++rank) program.Send(rank, (rank + 1) % 3).Post(rank, (rank + 2) % 3);
    for (int rank = 0; rank < 3; ++rank) program.Received(rank, (rank + 2) % 3);
  }
  EXPECT_EQ(program.Steps(), 2);
}

}  // namespace
}  // namespace shardlab::grade
