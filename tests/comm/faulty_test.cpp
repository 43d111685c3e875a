// Injected trouble: what each fault does, and that it does nothing else.

#include <gtest/gtest.h>

#include <chrono>

#include <ATen/ATen.h>

#include "checks.hpp"
#include "fork_ranks.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/comm/faulty.hpp"
#include "shardlab/comm/mailbox.hpp"

namespace shardlab::test {
namespace {

double SecondsOf(const std::function<void()>& function) {
  const auto start = std::chrono::steady_clock::now();
  function();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Borrows a communicator that outlives the result.
std::shared_ptr<Communicator> Borrow(Communicator& comm) {
  return {&comm, [](Communicator*) {}};
}

// What is waited for besides the delays, on a busy machine as well, is less than one of them.
constexpr double kDelay = 0.15;

TEST(Faulty, ASerialLinkQueuesWhatIsStartedTogether) {
  FaultOptions options;
  options.delay_s = kDelay;
  options.delay_ops = {OpKind::kAllReduce};
  for (const bool serial : {false, true}) {
    options.serial_link = serial;
    RunOnMailbox(2, [&](Communicator& mailbox) {
      const auto comm = MakeFaulty(Borrow(mailbox), options);
      std::vector<at::Tensor> tensors{at::ones({2}), at::ones({2}), at::ones({2})};
      std::vector<std::unique_ptr<Work>> works;
      const double starting = SecondsOf([&] {
        for (const at::Tensor& tensor : tensors) works.push_back(comm->IAllReduce(tensor));
        comm->Barrier();  // not delayed
      });
      const double waiting = SecondsOf([&] {
        for (const auto& work : works) work->Wait();
      });
      Check(starting < kDelay, "starting took " + std::to_string(starting));
      const double total = starting + waiting;
      const double expected = serial ? 3 * kDelay : kDelay;
      Check(total > expected - 0.001 && total < expected + kDelay, "three took " + std::to_string(total));
    });
  }
}

TEST(Faulty, WhatIsComputedMeanwhileIsNotWaitedForAgain) {
  FaultOptions options;
  options.delay_s = kDelay;
  RunOnMailbox(2, [&](Communicator& mailbox) {
    const auto comm = MakeFaulty(Borrow(mailbox), options);
    const at::Tensor x = at::ones({2});
    const auto work = comm->IAllReduce(x);
    usleep(static_cast<useconds_t>(kDelay * 1e6));
    Check(SecondsOf([&] { work->Wait(); }) < kDelay, "the delay runs from the start");
  });
}

TEST(Faulty, LatenessAndReorderingChangeNoResult) {
  FaultOptions options;
  options.jitter_s = 0.0005;
  options.reorder = 0.5;
  for (options.seed = 0; options.seed < 5; ++options.seed) {
    RunOnMailbox(3, [&](Communicator& mailbox) {
      const auto comm = MakeFaulty(Borrow(mailbox), options);
      CheckMessages(*comm);
      CheckSubgroups(*comm);
    });
  }
}

TEST(Faulty, ReorderingLetsLaterMessagesOvertake) {
  // Rank 0 starts two sends; when the first is held back, only the second has been posted before rank 0 waits.
  FaultOptions options;
  options.reorder = 1;
  const ForkedRun run = ForkRanks(2, [&](Communicator& gloo) {
    const auto comm = MakeFaulty(Borrow(gloo), options);
    if (comm->rank() == 0) {
      const auto a = comm->ISend(at::ones({1}), 1, 1);
      const auto b = comm->ISend(at::ones({1}), 1, 2);
      const auto c = comm->ISend(at::ones({1}), 1, 1);  // not before the other with tag 1
      a->Wait();
      b->Wait();
      c->Wait();
    } else {
      for (const int tag : {2, 1, 1}) comm->Recv(at::ones({1}), 0, tag);
    }
  });
  EXPECT_TRUE(run.ok && !run.verdict) << run.AllErrors();
}

TEST(Faulty, ALostSendIsNeverAnnounced) {
  FaultOptions options;
  options.drop_sends = {1};
  const ForkedRun run = ForkRanks(2, [&](Communicator& gloo) {
    const auto comm = MakeFaulty(Borrow(gloo), options);
    for (int k = 0; k < 2; ++k) {
      if (comm->rank() == 0) comm->Send(at::ones({1}), 1, k);
      if (comm->rank() == 1) comm->Recv(at::ones({1}), 0, k);
    }
  });
  EXPECT_EQ(run.verdict.kind, VerdictKind::kDeadlock) << run.AllErrors();
  EXPECT_EQ(run.matcher->Statistics(0).messages_sent, 1);
}

TEST(Faulty, ARankDiesWhereItWasTold) {
  FaultOptions options;
  options.die_at = 2;
  const ForkedRun run = ForkRanks(2, [&](Communicator& gloo) {
    const auto comm = gloo.rank() == 1 ? MakeFaulty(Borrow(gloo), options) : Borrow(gloo);
    for (int k = 0; k < 5; ++k) comm->Barrier();
  });
  EXPECT_EQ(run.errors[1], "signal 9");
  EXPECT_EQ(run.matcher->Statistics(1).collectives, 2);
}

}  // namespace
}  // namespace shardlab::test
