// The communicator over Gloo, in forked processes: what every call must give, on 1 to 5 ranks. Ranks check their own
// results and throw what is wrong; values are small integers, so that every order of summation gives the same bits.

#include <gtest/gtest.h>

#include <ATen/ATen.h>

#include "../texts.hpp"
#include "checks.hpp"
#include "fork_ranks.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/comm/gloo.hpp"
#include "shardlab/comm/memory_store.hpp"

namespace shardlab::test {
namespace {

class OverGloo : public testing::TestWithParam<int> {
 protected:
  void Run(const std::function<void(Communicator&)>& body) {
    const ForkedRun run = ForkRanks(GetParam(), body);
    EXPECT_TRUE(run.ok && !run.verdict) << run.AllErrors();
  }
};

INSTANTIATE_TEST_SUITE_P(Ranks, OverGloo, testing::Values(1, 2, 3, 5));

TEST_P(OverGloo, EveryCollectiveGivesWhatItPromises) { Run(CheckCollectives); }
TEST_P(OverGloo, MessagesArriveInOrderAndByTag) { Run(CheckMessages); }
TEST_P(OverGloo, SubgroupsTalkAmongThemselves) { Run(CheckSubgroups); }
TEST_P(OverGloo, AllReduceHasTheSameBitsEverywhere) { Run(CheckSameBits); }

TEST(Gloo, HasNoCollectivesWhereThereAreToBeMessages) {
  const StoreMemory memory;
  const ForkedRun run = ForkRanks(2, [&](Communicator& comm) {
    GlooOptions options;
    options.collectives = false;
    const auto limited = MakeGlooCommunicator(memory.Store(), comm.rank(), 2, options);
    const auto pair = limited->Subgroup({1, 0}, "pair");
    for (Communicator* one : {limited.get(), pair.get()}) {
      Check(MessageOf([&] { one->AllReduce(at::ones({2})); }).find("AllReduce is not available here") == 0, "refused");
      const at::Tensor got = at::zeros({2});
      auto receive = one->IRecv(got, 1 - one->rank());
      one->Send(at::full({2}, one->rank() + 1.0), 1 - one->rank());
      receive->Wait();
      Check(at::equal(got, at::full({2}, 2.0 - one->rank())), "messages still travel");
    }
  });
  EXPECT_TRUE(run.ok) << run.AllErrors();
}

TEST(Gloo, AnOperationThatTakesTooLongNamesItself) {
  const ForkedRun run = ForkRanks(
      2,
      [](Communicator& comm) {
        if (comm.rank() == 1) {
          usleep(2000000);
          return;
        }
        try {
          comm.Recv(at::zeros({3}), 1, 7);
        } catch (const CommError& error) {
          const std::string text = error.what();
          Check(text.find("Recv from rank 1, tag 7, float32 [3]") != std::string::npos, text);
          Check(text.find("Timed out") != std::string::npos && text.find('\n') == std::string::npos, text);
          throw std::runtime_error("as expected");
        }
      },
      /*announced=*/false, /*limit_s=*/3);
  EXPECT_EQ(run.errors[0], "as expected");
}

}  // namespace
}  // namespace shardlab::test
