// Ranks as programs of their own.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "shardlab/base/errors.hpp"
#include "shardlab/launch/process.hpp"
#include "shardlab/launch/spawn_ranks.hpp"

namespace shardlab {
namespace {

using ::testing::HasSubstr;

class SpawnRanksTest : public ::testing::Test {
 protected:
  void TearDown() override {
    EXPECT_TRUE(launch::ChildrenOf(getpid()).empty()) << "a rank is left";
    for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::temp_directory_path())) {
      EXPECT_THAT(entry.path().filename().string(), ::testing::Not(::testing::StartsWith("shardlab-ranks-")));
    }
  }

  static std::vector<RankFailure> Spawn(const std::string& how, double limit_s = 60) {
    RunRanksOptions options;
    options.limit_s = limit_s;
    return SpawnRanks(2, {SHARDLAB_TEST_SPAWNED_RANK, how}, options);
  }
};

TEST_F(SpawnRanksTest, ProgramsFindTheirRanksAndEachOther) {
  for (const RankFailure& failure : Spawn("well")) {
    ADD_FAILURE() << "rank " << failure.rank << " " << failure.message;
  }
}

TEST_F(SpawnRanksTest, AFailureEndsTheOthersWhichAreConsequences) {
  const auto failures = Spawn("fail");
  ASSERT_EQ(failures.size(), 2u);
  EXPECT_EQ(failures[0].rank, 1);
  EXPECT_EQ(failures[0].message, "ended with exit status 3");
  EXPECT_FALSE(failures[0].consequence);
  EXPECT_TRUE(failures[1].consequence);
}

TEST_F(SpawnRanksTest, ACrashIsNamed) {
  const auto failures = Spawn("abort");
  ASSERT_GE(failures.size(), 1u);
  EXPECT_EQ(failures[0].rank, 0);
  EXPECT_THAT(failures[0].message, HasSubstr("SIGABRT"));
}

TEST_F(SpawnRanksTest, AHangEndsAtTheLimit) {
  const auto failures = Spawn("hang", 2);
  ASSERT_EQ(failures.size(), 2u);
  for (const RankFailure& failure : failures) {
    EXPECT_EQ(failure.message, "did not return within 2 s");
    EXPECT_FALSE(failure.consequence);
  }
}

TEST_F(SpawnRanksTest, WhatCannotBeStartedIsNamed) {
  EXPECT_THROW(SpawnRanks(0, {"/bin/true"}), ContractError);
  EXPECT_THROW(SpawnRanks(1, {}), ContractError);
  EXPECT_THROW(SpawnRanks(2, {"/nonexistent/program"}), EnvironmentError);
}

}  // namespace
}  // namespace shardlab
