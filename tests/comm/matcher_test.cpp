// What the matcher says to a person, on runs over Gloo that a person can follow.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <thread>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "fork_ranks.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/comm/announcer.hpp"

namespace shardlab::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using Kind = VerdictKind;

at::Tensor X(int64_t n = 4) { return at::ones({n}); }

Verdict VerdictOf(int ranks, const std::function<void(Communicator&)>& body) { return ForkRanks(ranks, body).verdict; }

// A record can be forged: whatever it says, counting it is defined.
TEST(Statistics, SumsThatAreTooLargeStayAtTheLargest) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  Matcher matcher(2);
  for (const int rank : {0, 1}) {
    Announcement group;
    group.record.kind = RecordKind::kGroup;
    group.record.group = 1;
    group.record.members[0] = 0b11;
    matcher.Feed(rank, group);
    for (uint64_t id = 1; id <= 2; ++id) {
      Announcement announcement;
      announcement.record.kind = RecordKind::kPost;
      announcement.record.id = id;
      announcement.record.op = OpKind::kSend;
      announcement.record.group = 1;
      announcement.record.peer = 1 - rank;
      announcement.record.bytes_sent = kMost;
      matcher.Feed(rank, announcement);
    }
  }
  EXPECT_EQ(matcher.Statistics(0).messages_sent, 2);
  EXPECT_EQ(matcher.Statistics(0).bytes_sent, kMost);
  EXPECT_EQ(matcher.Total().bytes_sent, kMost);
}

TEST(Deadlock, TwoSendsThatWaitForEachOther) {
  const Verdict verdict = VerdictOf(2, [](Communicator& comm) {
    comm.Send(X(), 1 - comm.rank(), 5);
    comm.Recv(X(), 1 - comm.rank(), 5);
  });
  EXPECT_EQ(verdict.kind, Kind::kDeadlock);
  EXPECT_EQ(
      verdict.sentence,
      "rank 0 sends to 1 (tag 5), rank 1 sends to 0 (tag 5): both wait for a receive that comes after the send; post "
      "the receives first (IRecv), or order the calls by parity");
  EXPECT_THAT(verdict.Text(), HasSubstr("rank 1: waits in Send to rank 0, tag 5, float32 [4], at matcher_test.cpp:"));
}

TEST(Deadlock, ARingOfReceives) {
  const Verdict verdict = VerdictOf(3, [](Communicator& comm) { comm.Recv(X(), (comm.rank() + 2) % 3); });
  EXPECT_EQ(verdict.kind, Kind::kDeadlock);
  EXPECT_THAT(verdict.sentence, AllOf(HasSubstr("rank 0 receives from 2"), HasSubstr("rank 1 receives from 0"),
                                      HasSubstr("each waits for a message that would be sent after")));
}

TEST(Deadlock, APartnerThatReturned) {
  const Verdict verdict = VerdictOf(3, [](Communicator& comm) {
    if (comm.rank() == 0) comm.Recv(X(), 2, 1);
    if (comm.rank() == 1) comm.Recv(X(), 0);
  });
  EXPECT_EQ(verdict.kind, Kind::kDeadlock);
  EXPECT_THAT(verdict.sentence, AllOf(HasSubstr("rank 0 waits for a message from rank 2 with tag 1 (matcher_test.cpp:"),
                                      HasSubstr("rank 2 has returned without sending it")));
  EXPECT_THAT(verdict.Text(), HasSubstr("rank 2: returned"));
}

TEST(Deadlock, NamesTheCallThatWaitsWhereAnotherOneStarted) {
  const Verdict verdict = VerdictOf(2, [](Communicator& comm) {
    const at::Tensor x = X();
    const auto work = comm.IRecv(x, 1 - comm.rank(), 3);
    const WaitsAt waits({"somewhere/waits.cpp", 77});
    work->Wait();
  });
  EXPECT_EQ(verdict.kind, Kind::kDeadlock);
  EXPECT_THAT(verdict.Text(),
              AllOf(HasSubstr("rank 0: waits in Recv from rank 1, tag 3, float32 [4], at waits.cpp:77"),
                    HasSubstr("rank 1: waits in Recv from rank 0, tag 3, float32 [4], at waits.cpp:77")));
}

TEST(Deadlock, SomeRanksMayStillRun) {
  const auto start = std::chrono::steady_clock::now();
  const Verdict verdict = VerdictOf(3, [](Communicator& comm) {
    if (comm.rank() < 2) comm.Recv(X(), 1 - comm.rank());
    std::this_thread::sleep_for(std::chrono::seconds(5));
  });
  EXPECT_EQ(verdict.kind, Kind::kDeadlock);
  EXPECT_EQ(verdict.ranks[2].kind, RankState::Kind::kRunning);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(3));
}

TEST(Deadlock, TagsThatDiffer) {
  const Verdict verdict = VerdictOf(2, [](Communicator& comm) {
    if (comm.rank() == 0) comm.Send(X(), 1, 3);
    if (comm.rank() == 1) comm.Recv(X(), 0, 4);
  });
  EXPECT_EQ(verdict.kind, Kind::kDeadlock);
  EXPECT_THAT(verdict.sentence, AllOf(HasSubstr("rank 1 did post a receive for one from rank 0 with tag 4"),
                                      HasSubstr("must be the same on both sides")));
}

TEST(Deadlock, ACollectiveThatOneRankSkips) {
  const Verdict verdict = VerdictOf(3, [](Communicator& comm) {
    comm.Barrier();
    if (comm.rank() != 2) comm.AllReduce(X());
  });
  EXPECT_EQ(verdict.kind, Kind::kDeadlock);
  EXPECT_THAT(verdict.sentence,
              AllOf(HasSubstr("in AllReduce (matcher_test.cpp:"), HasSubstr("(collective 1)"),
                    HasSubstr("rank 2 has returned without calling it"),
                    HasSubstr("; the last that rank 2 called was Barrier, collective 0 (matcher_test.cpp:")));
}

TEST(Deadlock, ACollectiveAgainstAMessage) {
  const Verdict verdict = VerdictOf(2, [](Communicator& comm) {
    if (comm.rank() == 0) {
      comm.Barrier();
      comm.Send(X(), 1);
    } else {
      comm.Recv(X(), 0);
      comm.Barrier();
    }
  });
  EXPECT_EQ(verdict.kind, Kind::kDeadlock);
  EXPECT_THAT(verdict.sentence, AllOf(HasSubstr("rank 0 is in Barrier (collective 0), which 1 has not called"),
                                      HasSubstr("rank 1 receives from 0"), HasSubstr("in another order")));
}

TEST(Deadlock, AGroupThatNotAllRanksMake) {
  const Verdict verdict = VerdictOf(2, [](Communicator& comm) {
    if (comm.rank() == 0) comm.Subgroup({0, 1}, "tensor");
  });
  EXPECT_EQ(verdict.kind, Kind::kDeadlock);
  EXPECT_THAT(verdict.sentence,
              AllOf(HasSubstr("rank 0 forms the group 'tensor'"), HasSubstr("every rank makes every group")));
}

// (Over Gloo the others may be told by a broken connection first.)
TEST(Deadlock, ARankThatDied) {
  Matcher matcher(2);
  Record record;
  record.kind = RecordKind::kPost;
  record.op = OpKind::kRecv;
  record.id = 1;
  record.peer = 1;
  matcher.Feed(0, record);
  record.kind = RecordKind::kBlock;
  matcher.Feed(0, record);
  EXPECT_EQ(matcher.Check().kind, Kind::kNone);
  matcher.Died(1, "SIGSEGV");
  const Verdict verdict = matcher.Check();
  EXPECT_EQ(verdict.kind, Kind::kDeadlock);
  EXPECT_THAT(verdict.sentence, HasSubstr("rank 1 has died (SIGSEGV) without sending it"));
}

// Correct exchanges that a naive check takes for deadlocks.
TEST(Deadlock, IsNotSeenWhereNoneIs) {
  for (const bool receive_first : {false, true}) {
    const ForkedRun run = ForkRanks(2, [&](Communicator& comm) {
      const int other = 1 - comm.rank();
      const at::Tensor mine = X(), theirs = at::zeros({4});
      for (int k = 0; k < 50; ++k) {
        const auto a = receive_first ? comm.IRecv(theirs, other, k) : comm.ISend(mine, other, k);
        const auto b = receive_first ? comm.ISend(mine, other, k) : comm.IRecv(theirs, other, k);
        a->Wait();
        b->Wait();
      }
    });
    EXPECT_TRUE(run.ok && !run.verdict) << run.AllErrors();
    EXPECT_EQ(run.matcher->Total().rounds, 50);
    EXPECT_EQ(run.matcher->Total().messages_sent, 100);
    EXPECT_EQ(run.matcher->Statistics(1).bytes_sent, 50 * 16);
  }
}

TEST(Mismatch, NamesBothSidesWhateverGlooDidWithIt) {
  const Verdict shape = VerdictOf(2, [](Communicator& comm) {
    if (comm.rank() == 0) comm.Send(X(8), 1, 2);
    if (comm.rank() == 1) comm.Recv(X(4), 0, 2);
  });
  EXPECT_EQ(shape.kind, Kind::kMismatch);
  EXPECT_THAT(shape.sentence,
              AllOf(HasSubstr("message 0 from rank 0 to rank 1 with tag 2 is sent as float32 [8], 32 bytes"),
                    HasSubstr("but received into float32 [4], 16 bytes (matcher_test.cpp:")));

  const auto collective = [](const std::function<void(Communicator&)>& body) {
    const Verdict verdict = VerdictOf(2, body);
    EXPECT_EQ(verdict.kind, Kind::kMismatch);
    return verdict.sentence;
  };
  EXPECT_THAT(collective([](Communicator& comm) { comm.AllReduce(X(4 + comm.rank())); }),
              HasSubstr("collective 0, AllReduce, has shape ["));
  EXPECT_THAT(
      collective([](Communicator& comm) { comm.AllReduce(at::ones({4}, comm.rank() == 0 ? at::kFloat : at::kInt)); }),
      AllOf(HasSubstr("dtype"), HasSubstr("float32"), HasSubstr("int32")));
  EXPECT_THAT(collective([](Communicator& comm) { comm.Broadcast(X(), comm.rank()); }), HasSubstr("root"));
  EXPECT_THAT(
      collective([](Communicator& comm) { comm.AllReduce(X(), comm.rank() == 0 ? ReduceOp::kSum : ReduceOp::kMax); }),
      AllOf(HasSubstr("sum"), HasSubstr("max")));
  EXPECT_THAT(collective([](Communicator& comm) {
                if (comm.rank() == 0) comm.AllReduce(X());
                if (comm.rank() == 1) comm.Broadcast(X(), 0);
              }),
              HasSubstr("every rank calls the same ones in the same order"));
  // Rank 1 believes that rank 0's part has 3 elements.
  EXPECT_THAT(collective([](Communicator& comm) {
                const int64_t believed = comm.rank() == 0 ? 2 : 3;
                std::vector<at::Tensor> into{at::ones({believed}), X(5)};
                comm.AllGather(into, comm.rank() == 0 ? at::ones({2}) : X(5));
              }),
              AllOf(HasSubstr("rank 0 gives rank 1 a part of 8 bytes"), HasSubstr("rank 1 expects one of 12 bytes")));
}

TEST(Leftover, AMessageThatNobodyReceived) {
  const Verdict verdict = VerdictOf(2, [](Communicator& comm) {
    if (comm.rank() == 0) comm.ISend(X(), 1, 9).release();
  });
  EXPECT_EQ(verdict.kind, Kind::kLeftover);
  EXPECT_THAT(verdict.sentence,
              AllOf(HasSubstr("rank 0 sent rank 1 a message with tag 9, float32 [4] (matcher_test.cpp:"),
                    HasSubstr("rank 1 never received; rank 1 called nothing at all")));
}

TEST(Leftover, AMessageWithAnotherTag) {
  const Verdict verdict = VerdictOf(2, [](Communicator& comm) {
    if (comm.rank() == 0) comm.ISend(X(), 1, 9).release();
    if (comm.rank() == 1) comm.IRecv(X(), 0, 8).release();
  });
  EXPECT_EQ(verdict.kind, Kind::kLeftover);
  EXPECT_THAT(verdict.sentence, HasSubstr("tag and group must be the same on both sides"));
}

TEST(Leftover, WorkThatNobodyWaitedFor) {
  const Verdict verdict = VerdictOf(2, [](Communicator& comm) {
    const at::Tensor x = X();
    auto work = comm.IAllReduce(x);
    if (comm.rank() == 0) work->Wait();
    comm.Barrier();
    work.release();
  });
  EXPECT_EQ(verdict.kind, Kind::kLeftover);
  EXPECT_THAT(verdict.sentence, HasSubstr("rank 1 never waited for IAllReduce (matcher_test.cpp:"));
}

// What becomes of the message is up to Gloo, so the verdict does not wait for that.
TEST(Misuse, WorkThatIsThrownAway) {
  const Verdict verdict = VerdictOf(2, [](Communicator& comm) {
    if (comm.rank() == 0) comm.ISend(X(), 1, 9);
    comm.Barrier();
    if (comm.rank() == 1) comm.Recv(X(), 0, 9);
  });
  EXPECT_EQ(verdict.kind, Kind::kMisuse);
  EXPECT_THAT(verdict.sentence,
              AllOf(HasSubstr("rank 0 threw away what ISend to rank 1, tag 9, float32 [4] (matcher_test.cpp:"),
                    HasSubstr("call Wait on it once")));
}

TEST(Misuse, ATensorThatIsChangedWhileItIsSent) {
  for (const int64_t size : {1, 3, 1000, 1'000'000}) {
    const Verdict verdict = VerdictOf(2, [&](Communicator& comm) {
      const at::Tensor x = X(size);
      if (comm.rank() == 0) {
        const auto work = comm.ISend(x, 1, 5);
        x.mul_(2);
        work->Wait();
      } else {
        comm.Recv(x, 0, 5);
      }
    });
    EXPECT_EQ(verdict.kind, Kind::kMisuse) << size;
    EXPECT_THAT(verdict.sentence, AllOf(HasSubstr("rank 0 changed the tensor of ISend to rank 1, tag 5, float32 ["),
                                        HasSubstr("(matcher_test.cpp:"), HasSubstr("send a clone")));
  }
}

TEST(Misuse, ATensorThatIsWrittenToWhileItIsReceivedInto) {
  const Verdict verdict = VerdictOf(2, [&](Communicator& comm) {
    const at::Tensor x = X();
    if (comm.rank() == 0) {
      comm.Send(x, 1, 5);
      comm.Send(x, 1, 6);
    } else {
      const auto work = comm.IRecv(x, 0, 5);
      comm.Recv(X(), 0, 6);  // so the other one has arrived
      x.add_(1);
      work->Wait();
    }
  });
  EXPECT_EQ(verdict.kind, Kind::kMisuse);
  EXPECT_THAT(verdict.sentence, AllOf(HasSubstr("the tensor of rank 1's IRecv from rank 0, tag 5, float32 [4]"),
                                      HasSubstr("what rank 0 sent (matcher_test.cpp:")));
}

TEST(Misuse, TwoReceivesIntoOneTensor) {
  const Verdict verdict = VerdictOf(2, [&](Communicator& comm) {
    if (comm.rank() == 0) {
      comm.Send(at::full({4}, 1.0f), 1, 5);
      comm.Send(at::full({4}, 2.0f), 1, 5);
    } else {
      const at::Tensor x = X();
      const auto first = comm.IRecv(x, 0, 5);
      comm.Recv(x, 0, 5);
      first->Wait();
    }
  });
  EXPECT_EQ(verdict.kind, Kind::kMisuse);
  EXPECT_THAT(verdict.sentence, HasSubstr("a tensor each"));
}

// Sent to several at once, chunks of one tensor under way in both directions, changed right after Wait: all allowed.
TEST(Misuse, IsNotSeenWhereNoneIs) {
  const ForkedRun run = ForkRanks(3, [](Communicator& comm) {
    const int next = (comm.rank() + 1) % 3, previous = (comm.rank() + 2) % 3;
    for (const int64_t size : {1, 2, 7, 8, 9, 33, 1000, 100'003}) {
      const at::Tensor both = at::rand({2 * size}), mine = both.narrow(0, 0, size), theirs = both.narrow(0, size, size);
      const auto in = comm.IRecv(theirs, previous);
      const auto out = comm.ISend(mine, next);
      const auto again = comm.ISend(mine, previous, 1);
      const at::Tensor other = at::empty({size});
      comm.Recv(other, next, 1);
      in->Wait();
      theirs.add_(1);
      out->Wait();
      again->Wait();
      mine.zero_();
    }
  });
  EXPECT_TRUE(run.ok && !run.verdict) << run.AllErrors();
}

// Gloo's broadcast lets the root go on before the last rank has called it. A program may not rely on that.
TEST(Unsafe, IsSeenInTheRecordsAlone) {
  Matcher matcher(2);
  const auto feed = [&matcher](int rank, RecordKind kind, uint64_t id, OpKind op = OpKind::kBarrier, int peer = -1) {
    Record record;
    record.kind = kind;
    record.id = id;
    record.op = op;
    record.peer = peer;
    matcher.Feed(rank, record);
  };
  feed(0, RecordKind::kPost, 1, OpKind::kBroadcast, 0);
  feed(0, RecordKind::kBlock, 1);
  feed(0, RecordKind::kUnblock, 1);  // rank 1 has not called it
  feed(0, RecordKind::kPost, 2, OpKind::kSend, 1);
  feed(0, RecordKind::kBlock, 2);
  feed(1, RecordKind::kPost, 1, OpKind::kRecv, 0);
  feed(1, RecordKind::kBlock, 1);
  feed(1, RecordKind::kUnblock, 1);
  feed(0, RecordKind::kUnblock, 2);
  feed(1, RecordKind::kPost, 2, OpKind::kBroadcast, 0);
  feed(1, RecordKind::kBlock, 2);
  feed(1, RecordKind::kUnblock, 2);
  feed(0, RecordKind::kReturn, 0);
  feed(1, RecordKind::kReturn, 0);
  EXPECT_EQ(matcher.Check().kind, Kind::kNone);
  const Verdict verdict = matcher.Finish();
  EXPECT_EQ(verdict.kind, Kind::kUnsafe);
  EXPECT_THAT(verdict.sentence, HasSubstr("rank 0 went on from Broadcast (collective 0) before rank 1 had called it"));
}

// Rounds: the figures of the collectives' contracts, from programs written out.
TEST(Rounds, ARingTakesTwiceTMinusOne) {
  for (const int ranks : {2, 3, 4, 5}) {
    const ForkedRun run = ForkRanks(ranks, [](Communicator& comm) {
      for (int step = 0; step < 2 * (comm.size() - 1); ++step) {
        const at::Tensor out = X(), in = X();
        const auto received = comm.IRecv(in, (comm.rank() + comm.size() - 1) % comm.size(), step);
        comm.Send(out, (comm.rank() + 1) % comm.size(), step);
        received->Wait();
      }
    });
    EXPECT_EQ(run.matcher->Total().rounds, 2 * (ranks - 1));
  }
}

TEST(Rounds, AHandMadeBroadcastByTreeOrOneByOne) {
  const auto rounds = [](bool tree) {
    const ForkedRun run = ForkRanks(8, [tree](Communicator& comm) {
      const at::Tensor x = X();
      if (!tree) {
        if (comm.rank() > 0) comm.Recv(x, 0);
        for (int r = 1; comm.rank() == 0 && r < 8; ++r) comm.Send(x, r);
        return;
      }
      int mask = 1;
      while (mask < 8 && (comm.rank() & mask) == 0) mask <<= 1;
      if (mask < 8) comm.Recv(x, comm.rank() - mask);
      for (mask >>= 1; mask > 0; mask >>= 1) comm.Send(x, comm.rank() + mask);
    });
    EXPECT_EQ(run.matcher->Total().messages_sent, 7);
    return run.matcher->Total().rounds;
  };
  EXPECT_EQ(rounds(true), 3);
  EXPECT_EQ(rounds(false), 7);
}

TEST(Rounds, EveryoneToEveryoneAtOnceIsOne) {
  const ForkedRun run = ForkRanks(4, [](Communicator& comm) {
    std::vector<std::unique_ptr<Work>> works;
    std::vector<at::Tensor> into(4, at::Tensor());
    for (int r = 0; r < 4; ++r) {
      if (r == comm.rank()) continue;
      into[size_t(r)] = X();
      works.push_back(comm.IRecv(into[size_t(r)], r));
      works.push_back(comm.ISend(X(), r));
    }
    for (const auto& work : works) work->Wait();
  });
  EXPECT_EQ(run.matcher->Total().rounds, 1);
  EXPECT_EQ(run.matcher->Total().messages_sent, 12);
}

// All sends are under way, so it does not matter that the receives are waited for one by one.
TEST(Rounds, ReceivesInTurnAreNoRounds) {
  const ForkedRun run = ForkRanks(4, [](Communicator& comm) {
    std::vector<std::unique_ptr<Work>> sends;
    for (int r = 0; r < 4; ++r) {
      if (r != comm.rank()) sends.push_back(comm.ISend(X(), r));
    }
    for (int r = 0; r < 4; ++r) {
      if (r != comm.rank()) comm.Recv(X(), r);
    }
    for (const auto& send : sends) send->Wait();
  });
  EXPECT_EQ(run.matcher->Total().rounds, 1);
}

TEST(Events, AreInTheOrderOfTime) {
  const ForkedRun run = ForkRanks(2, [](Communicator& comm) {
    if (comm.rank() == 0) {
      comm.announcer()->Mark("before");
      comm.Send(X(), 1);
    } else {
      comm.Recv(X(), 0);
      comm.announcer()->Mark("after");
    }
  });
  std::vector<std::string> order;
  for (const TimelineEvent& event : run.matcher->Events()) {
    if (event.record.kind == RecordKind::kMark) order.push_back(event.record.name);
    if (event.record.op == OpKind::kSend && event.record.kind == RecordKind::kPost) order.push_back("send");
  }
  EXPECT_EQ(order, (std::vector<std::string>{"before", "send", "after"}));
}

TEST(Announcer, SurvivesAReaderThatLeft) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  Announcer announcer(ends[1]);
  announcer.Mark("heard");
  close(ends[0]);
  for (int i = 0; i < 3; ++i) announcer.Mark("not heard");
  close(ends[1]);
}

TEST(Announcer, SeveralThreadsDoNotMixTheirRecords) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  Announcer announcer(ends[1]);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) {
        Record record;
        record.op = OpKind::kAllToAll;
        announcer.Block(announcer.Post(record, std::vector<RecordPart>(5, {7, 7, 7, 7})));
      }
    });
  }
  AnnouncementReader reader(ends[0]);
  uint64_t posts = 0, blocks = 0;
  while (blocks < 2000) {
    reader.Drain([&](const Announcement& announcement) {
      if (announcement.record.kind == RecordKind::kPost) {
        ASSERT_EQ(announcement.record.id, ++posts);
        ASSERT_EQ(announcement.parts.size(), 5u);
        ASSERT_EQ(announcement.parts[4].shape_received, 7u);
      } else {
        ++blocks;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  close(ends[1]);
  EXPECT_FALSE(reader.Drain([](const Announcement&) {}));
  close(ends[0]);
}

TEST(AnnouncementReader, RefusesNonsense) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  ASSERT_EQ(write(ends[1], "student", 7), 7);
  AnnouncementReader reader(ends[0]);
  EXPECT_THROW(reader.Drain([](const Announcement&) {}), CommError);
  close(ends[0]);
  close(ends[1]);
}

// Microseconds of a round trip of two messages between two processes.
double RoundTrip(bool announced) {
  const int trips = 100;
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  const ForkedRun run = ForkRanks(
      2,
      [&](Communicator& comm) {
        const at::Tensor x = at::ones({256});
        const int other = 1 - comm.rank();
        comm.Barrier();
        const auto start = std::chrono::steady_clock::now();
        for (int k = 0; k < trips; ++k) {
          if (comm.rank() == 0) comm.Send(x, other);
          comm.Recv(x, other);
          if (comm.rank() == 1) comm.Send(x, other);
        }
        const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
        const double each = took.count() / trips;
        if (comm.rank() == 0 && write(ends[1], &each, sizeof each) < 0) throw std::runtime_error("write");
      },
      announced);
  EXPECT_TRUE(run.ok) << run.AllErrors();
  close(ends[1]);
  double microseconds = 0;
  EXPECT_EQ(read(ends[0], &microseconds, sizeof microseconds), ssize_t(sizeof microseconds));
  close(ends[0]);
  return microseconds;
}

// What announcing costs, in turn and the best of each: other programs on the machine only ever make a run slower. The
// figures are shown; the bound is a ratio that no measurement came near.
TEST(Announcing, CostsLittle) {
  double plain = std::numeric_limits<double>::infinity();
  double announced = plain;
  for (int repeat = 0; repeat < 9; ++repeat) {
    plain = std::min(plain, RoundTrip(false));
    announced = std::min(announced, RoundTrip(true));
  }
  fmt::print("a round trip takes {:.0f} us, announced {:.0f} us\n", plain, announced);
  EXPECT_LT(announced, 8 * plain);
}

}  // namespace
}  // namespace shardlab::test
