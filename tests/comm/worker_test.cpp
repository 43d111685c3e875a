// A helper thread that communicates beside the main thread.

#include <gtest/gtest.h>

#include <atomic>

#include <ATen/ATen.h>

#include "checks.hpp"
#include "fork_ranks.hpp"
#include "shardlab/comm/worker.hpp"

namespace shardlab::test {
namespace {

TEST(Worker, TalksWhileTheMainThreadDoesToo) {
  const ForkedRun run = ForkRanks(3, [](Communicator& comm) {
    const auto own = comm.Subgroup({0, 1, 2}, "helper");
    Worker worker(own);
    const at::Tensor x = at::ones({100}), y = at::ones({100});
    for (int k = 0; k < 20; ++k) {
      worker.Submit([&] { own->AllReduce(x); });
      comm.AllReduce(y);
      worker.Wait();
    }
    Check(at::equal(x, y) && y[0].item<float>() == 3486784401.f, "3^20");
  });
  EXPECT_TRUE(run.ok && !run.verdict) << run.AllErrors();
  EXPECT_EQ(run.matcher->Statistics(0).rounds, 20) << "side by side, they take no longer than one";
}

TEST(Worker, HandsOnWhatAJobThrowsAndSkipsTheRest) {
  const ForkedRun run = ForkRanks(1, [](Communicator& comm) {
    Worker worker(comm.Subgroup({0}, "helper"));
    std::atomic<int> ran{0};
    worker.Submit([&] { ++ran; });
    worker.Submit([] { throw std::runtime_error("mine"); });
    worker.Submit([&] { ++ran; });
    std::string caught;
    try {
      worker.Wait();
    } catch (const std::runtime_error& error) {
      caught = error.what();
    }
    Check(caught == "mine" && ran == 1, "one ran, one threw, one was skipped");
  });
  EXPECT_TRUE(run.ok) << run.AllErrors();
}

TEST(Worker, ADeadlockOfTheHelperIsFound) {
  const ForkedRun run = ForkRanks(2, [](Communicator& comm) {
    const auto own = comm.Subgroup({0, 1}, "helper");
    Worker worker(own);
    const at::Tensor x = at::ones({4});
    worker.Submit([&] { own->Recv(x, 1 - own->rank(), 3); });
    worker.Wait();
  });
  EXPECT_EQ(run.verdict.kind, VerdictKind::kDeadlock) << run.AllErrors();
  EXPECT_NE(run.verdict.sentence.find("receives from"), std::string::npos) << run.verdict.sentence;
}

TEST(Worker, AMainThreadThatComputesIsNotTakenForBlocked) {
  const ForkedRun run = ForkRanks(2, [](Communicator& comm) {
    const auto own = comm.Subgroup({0, 1}, "helper");
    Worker worker(own);
    const at::Tensor x = at::ones({4});
    worker.Submit([&] { own->Recv(x, 1 - own->rank(), 3); });
    usleep(100000);  // both helpers wait; only the main threads can help them
    comm.Send(x, 1 - comm.rank(), 4);
  });
  // (Both main threads then send without a receive: that is the deadlock, and not before.)
  EXPECT_EQ(run.verdict.kind, VerdictKind::kDeadlock) << run.AllErrors();
  EXPECT_EQ(run.verdict.ranks[0].operations.size(), 2u);
}

}  // namespace
}  // namespace shardlab::test
