// A submission that attacks while it is loaded, before any case.

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "playground.hpp"
#include "shardlab/launch/scope.hpp"

namespace {

using shardlab::grade::Status;
using testing::HasSubstr;
using testing::IsEmpty;

class AtLoad : public testing::Test {
 protected:
  Supervised Run(const std::string& name, double startup_limit_s = 60) {
    auto options = playground_.Options({"honest"});
    options.programs[0].host = playground_.HostCalled(name);
    options.startup_limit_s = startup_limit_s;
    Supervised session = RunSupervised(options, 60);
    EXPECT_EQ(session.left, 0) << "processes were left";
    EXPECT_THAT(playground_.Leftovers(), IsEmpty());
    return session;
  }
  /// No case passes; the message of the first.
  std::string Nothing(const std::string& name, double startup_limit_s = 60) {
    Supervised session = Run(name, startup_limit_s);
    EXPECT_EQ(session.error, "");
    EXPECT_EQ(session.results.size(), 2u);
    for (const auto& [id, result] : session.results) EXPECT_NE(result.status, Status::kPassed) << id;
    return session.results["values"].message;
  }

  Playground playground_;
};

TEST_F(AtLoad, Exits) { EXPECT_THAT(Nothing("host_exits"), HasSubstr("ended with exit status 0 before it could run")); }

TEST_F(AtLoad, ExitsAtOnce) {
  EXPECT_THAT(Nothing("host_exits_at_once"), HasSubstr("ended with exit status 0 before it could run"));
}

TEST_F(AtLoad, StartsAThread) { EXPECT_THAT(Nothing("host_starts_a_thread"), HasSubstr("2 threads")); }

// The limit is the referee's too: on a machine that is busy the first may be too short for it.
TEST_F(AtLoad, LoopsWithoutEnd) {
  Supervised session;
  for (const double limit_s : {3., 20.}) {
    session = Run("host_loops", limit_s);
    if (session.error.empty()) break;
  }
  EXPECT_EQ(session.error, "");
  EXPECT_THAT(session.results["values"].message, HasSubstr("host_loops did not start within"));
}

TEST_F(AtLoad, WritesGarbage) { EXPECT_THAT(Nothing("host_writes_garbage"), HasSubstr("closed its connection")); }

TEST_F(AtLoad, SaysNonsense) { EXPECT_THAT(Nothing("host_says_nonsense"), HasSubstr("closed its connection")); }

TEST_F(AtLoad, SaysThatAllWentWell) { EXPECT_THAT(Nothing("host_lies"), HasSubstr("left no word of how far it came")); }

// On two ranks alone: each case takes its whole limit.
TEST_F(AtLoad, TalksWithoutEnd) {
  auto options = playground_.Options({"honest"});
  options.programs[0].host = playground_.HostCalled("host_floods");
  options.ranks = 2;
  Supervised session = RunSupervised(options, 60);
  EXPECT_EQ(session.error, "");
  EXPECT_EQ(session.left, 0);
  EXPECT_EQ(session.results["values"].status, Status::kTimeout) << session.results["values"].message;
}

TEST_F(AtLoad, ADetachedProcessIsEnded) {
  const Supervised session = Run("host_detaches");
  for (const auto& [id, result] : session.results) EXPECT_EQ(result.status, Status::kPassed) << result.message;
}

TEST_F(AtLoad, CannotKillTheSupervisor) {
  if (!shardlab::launch::ScopeHoldsSignals()) GTEST_SKIP() << "this kernel has no scopes for signals";
  const Supervised session = Run("host_kills");
  EXPECT_EQ(session.error, "");
}

// The known hole: code that is loaded before main() can be the host, and the host gets all ranks' inputs.
TEST_F(AtLoad, TakingOverTheHostIsNotNoticedWithoutAReplay) {
  const Supervised session = Run("host_takes_over");
  for (const auto& [id, result] : session.results) EXPECT_EQ(result.status, Status::kPassed) << result.message;
}

}  // namespace
