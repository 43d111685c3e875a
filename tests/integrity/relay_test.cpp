// The relay and its communicator: the bodies that every backend has to satisfy, and what is counted of them.

#include "relay.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checks.hpp"
#include "relay_communicator.hpp"
#include "shardlab/base/errors.hpp"

namespace shardlab::grade {
namespace {

using testing::HasSubstr;

/// Runs `body` in one thread a rank, with the relay in this one; what it counted.
std::vector<RelayCount> RunOnRelay(int ranks, const std::function<void(Communicator&)>& body, int limit_ms = 20000) {
  Relay relay(ranks);
  std::vector<std::thread> threads;
  std::vector<std::exception_ptr> errors(static_cast<size_t>(ranks));
  std::atomic<int> running{ranks};
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank, end = std::make_shared<launch::Fd>(relay.TakeEnd(rank))] {
      try {
        const auto comm = MakeRelayCommunicator(std::move(*end), rank, ranks, std::chrono::milliseconds(limit_ms));
        body(*comm);
      } catch (...) {
        errors[static_cast<size_t>(rank)] = std::current_exception();
      }
      --running;
    });
  }
  while (running > 0) {
    std::vector<pollfd> entries;
    relay.AddTo(&entries);
    poll(entries.data(), entries.size(), 10);
    relay.Pump();
  }
  for (std::thread& thread : threads) thread.join();
  relay.Pump();
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
  EXPECT_EQ(relay.error(), "");
  std::vector<RelayCount> counts;
  for (int rank = 0; rank < ranks; ++rank) counts.push_back(relay.Count(rank));
  return counts;
}

class OverRelay : public testing::TestWithParam<int> {};

INSTANTIATE_TEST_SUITE_P(Ranks, OverRelay, testing::Values(1, 2, 3, 5));

TEST_P(OverRelay, EveryCollectiveGivesWhatItPromises) { RunOnRelay(GetParam(), test::CheckCollectives); }
TEST_P(OverRelay, MessagesArriveInOrderAndByTag) { RunOnRelay(GetParam(), test::CheckMessages); }
TEST_P(OverRelay, SubgroupsTalkAmongThemselves) { RunOnRelay(GetParam(), test::CheckSubgroups); }
TEST_P(OverRelay, AllReduceHasTheSameBitsEverywhere) { RunOnRelay(GetParam(), test::CheckSameBits); }

TEST(Relay, CountsWhatPasses) {
  const auto counts = RunOnRelay(3, [](Communicator& comm) {
    if (comm.rank() == 0) comm.Send(at::ones({5}, at::kDouble), 1);
    if (comm.rank() == 0) comm.Send(at::ones({0}, at::kDouble), 2);
    if (comm.rank() == 1) comm.Recv(at::empty({5}, at::kDouble), 0);
    if (comm.rank() == 2) comm.Recv(at::empty({0}, at::kDouble), 0);
    comm.AllReduce(at::ones({4}, at::kFloat));
    comm.Broadcast(at::ones({2}, at::kFloat), 1);
    comm.Subgroup({0, 2}, "pair");
  });
  EXPECT_EQ(counts[0], (RelayCount{2, 40, 2, 16}));
  EXPECT_EQ(counts[1], (RelayCount{0, 0, 2, 16 + 8})) << "the root's bytes are those of a broadcast";
  EXPECT_EQ(counts[2], (RelayCount{0, 0, 2, 16})) << "forming a group is no collective";
}

TEST(Relay, HasNoCollectivesWhereThereAreToBeMessages) {
  Relay relay(1);
  const auto comm =
      MakeRelayCommunicator(relay.TakeEnd(0), 0, 1, std::chrono::milliseconds(1000), /*collectives=*/false);
  EXPECT_THROW(comm->AllReduce(at::ones({2})), ContractError);
  const auto alone = comm->Subgroup({0}, "alone");
  EXPECT_THROW(alone->Barrier(), ContractError);
}

TEST(Relay, MoreThanASocketHoldsPasses) {
  RunOnRelay(2, [](Communicator& comm) {
    const int64_t n = 3 << 20;
    const at::Tensor mine = at::arange(n, at::kDouble) + comm.rank(), theirs = at::zeros({n}, at::kDouble);
    auto receive = comm.IRecv(theirs, 1 - comm.rank());
    comm.Send(mine, 1 - comm.rank());
    receive->Wait();
    test::Check(at::equal(theirs, at::arange(n, at::kDouble) + (1 - comm.rank())), "what came is wrong");
  });
}

TEST(Relay, AWaitHasALimit) {
  try {
    RunOnRelay(
        2,
        [](Communicator& comm) {
          if (comm.rank() == 0) comm.Recv(at::zeros({3}), 1, 7);
        },
        300);
    FAIL() << "came through";
  } catch (const CommError& error) {
    EXPECT_THAT(error.what(), HasSubstr("Recv from rank 1, tag 7, float32 [3] did not complete within 300 ms"));
  }
}

/// What the relay says of bytes that a rank wrote to its socket.
std::string Said(const std::string& bytes) {
  Relay relay(2);
  const launch::Fd end = relay.TakeEnd(0);
  if (send(end.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0) return "not sent";
  relay.Pump();
  return relay.error();
}

std::string Bytes(const RelayHead& head, const std::vector<RelayShare>& shares = {}) {
  std::string bytes(reinterpret_cast<const char*>(&head), sizeof head);
  return bytes.append(reinterpret_cast<const char*>(shares.data()), shares.size() * sizeof(RelayShare));
}

TEST(Relay, TakesNothingOnTrust) {
  EXPECT_EQ(Said(std::string(200, '\xff')), "rank 0 sent something that is no message");
  RelayHead head;
  head.magic = kRelayMagic;
  for (const int peer : {-1, 0, 2}) {
    head.peer = peer;
    EXPECT_EQ(Said(Bytes(head)), "rank 0 sent a message to nobody") << peer;
  }
  head.peer = 1;
  head.bytes = kRelayLargest + 1;
  EXPECT_EQ(Said(Bytes(head)), "rank 0 sent something that is no message");
  head.bytes = 0;
  head.op = OpKind::kAllToAll;
  head.count = 2;
  EXPECT_EQ(Said(Bytes(head, {{0, 0, 0}, {1, 0, 8}})), "rank 0 sent shares that do not add up");
  EXPECT_EQ(Said(Bytes(head, {{0, 0, 0}, {7, 0, 0}})), "rank 0 sent shares that do not add up");
  EXPECT_EQ(Said(Bytes(head, {{0, 0, 0}, {1, 0, 0}})), "");
}

}  // namespace
}  // namespace shardlab::grade
