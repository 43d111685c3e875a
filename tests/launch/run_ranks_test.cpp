// Ranks as children of this process: what they give back, how they fail, and that nothing of them is left.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <dirent.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/launch/process.hpp"
#include "shardlab/launch/run_ranks.hpp"
#include "shardlab/launch/world.hpp"

namespace shardlab {
namespace {

using ::testing::HasSubstr;
using World = std::shared_ptr<Communicator>;

double SecondsOf(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

size_t FilesOpen() {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) count += !entry.path().empty();
  return count;
}

RunRanksOptions Within(double seconds) {
  RunRanksOptions options;
  options.limit_s = seconds;
  return options;
}

class RunRanksTest : public ::testing::Test {
 protected:
  void TearDown() override {
    EXPECT_TRUE(launch::ChildrenOf(getpid()).empty()) << "a rank is left";
    EXPECT_EQ(FilesOpen(), files_open_) << "a descriptor is left";
    for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::temp_directory_path())) {
      EXPECT_THAT(entry.path().filename().string(), ::testing::Not(::testing::StartsWith("shardlab-ranks-")));
    }
  }
  size_t files_open_ = FilesOpen();
};

TEST_F(RunRanksTest, EveryRankTalksToEveryOther) {
  for (const int ranks : {1, 2, 3, 4}) {
    const auto failures = RunRanks(ranks, [ranks](const World& world) {
      const at::Tensor sum = at::full({3}, world->rank() + 1.0);
      world->AllReduce(sum);
      const double expected = ranks * (ranks + 1) / 2.0;
      if (sum[2].item<double>() != expected) throw std::runtime_error("wrong sum");
    });
    for (const auto& failure : failures) ADD_FAILURE() << "rank " << failure.rank << " " << failure.message;
  }
}

TEST_F(RunRanksTest, AnExceptionIsTheRootCauseAndTheRestAreConsequences) {
  std::vector<RankFailure> failures;
  const double seconds = SecondsOf([&] {
    failures = RunRanks(3, [](const World& world) {
      if (world->rank() == 1) throw std::runtime_error("my own mistake");
      world->Barrier();
    });
  });
  ASSERT_EQ(failures.size(), 3u);
  EXPECT_EQ(failures[0].rank, 1);
  EXPECT_THAT(failures[0].message, HasSubstr("my own mistake"));
  EXPECT_FALSE(failures[0].consequence);
  EXPECT_TRUE(failures[1].consequence);
  EXPECT_TRUE(failures[2].consequence);
  EXPECT_LT(seconds, 10) << "the others were left to their own time limits";
}

TEST_F(RunRanksTest, ACrashIsNamed) {
  const auto failures = RunRanks(2, [](const World& world) {
    if (world->rank() == 0) raise(SIGSEGV);
  });
  // Rank 1 may still be looking for rank 0 when that crashes, and then fails as well.
  ASSERT_GE(failures.size(), 1u);
  EXPECT_EQ(failures[0].rank, 0);
  EXPECT_THAT(failures[0].message, HasSubstr("SIGSEGV"));
  for (size_t i = 1; i < failures.size(); ++i) EXPECT_TRUE(failures[i].consequence);
}

TEST_F(RunRanksTest, ExitInTheMiddleIsAFailure) {
  const auto failures = RunRanks(1, [](const World&) { _exit(7); });
  ASSERT_EQ(failures.size(), 1u);
  EXPECT_THAT(failures[0].message, HasSubstr("7"));
}

TEST_F(RunRanksTest, ExitStatusZeroInTheMiddleIsAFailureToo) {
  const auto failures = RunRanks(1, [](const World&) { _exit(0); });
  ASSERT_EQ(failures.size(), 1u);
  EXPECT_EQ(failures[0].message, "ended with exit status 0");
}

TEST_F(RunRanksTest, ARankThatReturnsEarlyKeepsItsConnections) {
  const auto failures = RunRanks(2, [](const World& world) {
    // The message is complete for its sender when the receive is posted, and read only later.
    const at::Tensor value = at::ones({1 << 20});
    if (world->rank() == 0) return world->Send(value, 1);
    auto receive = world->IRecv(value.zero_(), 0);
    usleep(200'000);
    receive->Wait();
    if (value.sum().item<float>() != 1 << 20) throw std::runtime_error("the message is damaged");
  });
  for (const auto& failure : failures) ADD_FAILURE() << "rank " << failure.rank << " " << failure.message;
}

TEST_F(RunRanksTest, AHangEndsAtTheLimit) {
  std::vector<RankFailure> failures;
  const double seconds = SecondsOf([&] {
    failures = RunRanks(
        2, [](const World&) { std::this_thread::sleep_for(std::chrono::minutes(5)); }, Within(0.5));
  });
  ASSERT_EQ(failures.size(), 2u);
  EXPECT_THAT(failures[0].message, HasSubstr("did not return within 0.5 s"));
  EXPECT_LT(seconds, 30);
}

TEST_F(RunRanksTest, TheKindOfErrorSurvivesTheWayBack) {
  auto failures = RunRanks(1, [](const World&) { throw NotImplemented("communication.ring: RingAllGather (file)"); });
  ASSERT_EQ(failures.size(), 1u);
  EXPECT_TRUE(failures[0].not_implemented);
  EXPECT_EQ(failures[0].message, "not implemented yet: communication.ring: RingAllGather (file)");
  failures = RunRanks(1, [](const World&) { throw UsageError("no such model"); });
  ASSERT_EQ(failures.size(), 1u);
  EXPECT_TRUE(failures[0].usage);
  failures = RunRanks(1, [](const World&) { throw EnvironmentError("no space left"); });
  ASSERT_EQ(failures.size(), 1u);
  EXPECT_TRUE(failures[0].environment);
}

TEST_F(RunRanksTest, AParentWithThreadsIsRefusedAndToldWhy) {
  std::atomic<bool> stop{false};
  std::thread other([&] {
    while (!stop) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
  std::string message;
  try {
    RunRanks(2, [](const World&) {});
  } catch (const ContractError& error) {
    message = error.what();
  }
  stop = true;
  other.join();
  EXPECT_THAT(message, HasSubstr("this process has 2 threads"));
}

TEST_F(RunRanksTest, NoRanksAreRefused) {
  EXPECT_THROW(RunRanks(0, [](const World&) {}), ContractError);
}

TEST_F(RunRanksTest, ALaunchersRanksMeetInAFileOfTheirJob) {
  const auto failures = RunRanks(2, [](const World& world) {
    setenv("OMPI_COMM_WORLD_RANK", std::to_string(world->rank()).c_str(), 1);
    setenv("OMPI_COMM_WORLD_SIZE", "2", 1);
    setenv("PMIX_NAMESPACE", ("test/" + std::to_string(getppid())).c_str(), 1);
    const auto launched = FindLauncher();
    if (!launched || launched->ranks != 2 || launched->launcher != "mpirun") throw std::runtime_error("not found");
    const auto joined = JoinWorld(*launched, 20);
    const at::Tensor one = at::ones({1});
    joined->AllReduce(one);
    if (one.item<float>() != 2) throw std::runtime_error("wrong sum");
  });
  for (const auto& failure : failures) ADD_FAILURE() << "rank " << failure.rank << " " << failure.message;
  for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::temp_directory_path())) {
    if (entry.path().string().find("test_" + std::to_string(getpid())) != std::string::npos) {
      std::filesystem::remove(entry.path());
    }
  }
}

TEST_F(RunRanksTest, ALauncherThatContradictsItselfIsNamed) {
  const auto failures = RunRanks(1, [](const World&) {
    setenv("RANK", "4", 1);
    setenv("WORLD_SIZE", "2", 1);
    FindLauncher();
  });
  ASSERT_EQ(failures.size(), 1u);
  EXPECT_TRUE(failures[0].usage);
  EXPECT_THAT(failures[0].message, HasSubstr("rank 4 of 2"));
}

}  // namespace
}  // namespace shardlab
