// The Mailbox keeps the same rules as Gloo: the same bodies, between threads.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ATen.h>

#include "checks.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/comm/mailbox.hpp"

namespace shardlab::test {
namespace {

class OverMailbox : public testing::TestWithParam<int> {};

INSTANTIATE_TEST_SUITE_P(Ranks, OverMailbox, testing::Values(1, 2, 3, 4, 7));

TEST_P(OverMailbox, EveryCollectiveGivesWhatItPromises) { RunOnMailbox(GetParam(), CheckCollectives); }
TEST_P(OverMailbox, MessagesArriveInOrderAndByTag) { RunOnMailbox(GetParam(), CheckMessages); }
TEST_P(OverMailbox, SubgroupsTalkAmongThemselves) { RunOnMailbox(GetParam(), CheckSubgroups); }
TEST_P(OverMailbox, AllReduceHasTheSameBitsEverywhere) { RunOnMailbox(GetParam(), CheckSameBits); }

std::string FailureOf(int ranks, const std::function<void(Communicator&)>& body) {
  try {
    RunOnMailbox(ranks, body, std::chrono::milliseconds(200));
  } catch (const CommError& error) {
    return error.what();
  }
  return "came through";
}

TEST(Mailbox, ASendWaitsForItsReceive) {
  EXPECT_THAT(FailureOf(2,
                        [](Communicator& comm) {
                          comm.Send(at::ones({2}), 1 - comm.rank(), 4);
                          comm.Recv(at::ones({2}), 1 - comm.rank(), 4);
                        }),
              testing::HasSubstr("tag 4, float32 [2] did not complete within 200 ms"));
}

TEST(Mailbox, TellsBothSidesWhatDoesNotFit) {
  EXPECT_THAT(FailureOf(2,
                        [](Communicator& comm) {
                          if (comm.rank() == 0) comm.Send(at::ones({8}), 1);
                          if (comm.rank() == 1) comm.Recv(at::ones({4}), 0);
                        }),
              testing::HasSubstr("float32 [8] was sent and float32 [4] was to be received"));
  EXPECT_THAT(FailureOf(2, [](Communicator& comm) { comm.AllReduce(at::ones({comm.rank() + 1})); }),
              testing::HasSubstr("AllReduce, float32 [1] on rank 0 does not fit AllReduce, float32 [2] on rank 1"));
}

TEST(Mailbox, TheErrorOfOneRankEndsTheOthersAndComesOut) {
  EXPECT_THROW(RunOnMailbox(3,
                            [](Communicator& comm) {
                              if (comm.rank() == 1) throw std::out_of_range("mine");
                              comm.Barrier();
                            }),
               std::out_of_range);
}

}  // namespace
}  // namespace shardlab::test
