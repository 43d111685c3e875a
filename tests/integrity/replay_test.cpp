// What announcements can hide, a replay finds: every rank by itself, all messages counted on their way.

#include <memory>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "playground.hpp"
#include "shardlab/launch/sandbox.hpp"

namespace {

using shardlab::grade::Replay;
using shardlab::grade::Status;
using shardlab::launch::Sandbox;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

class Forgeries : public testing::Test {
 protected:
  Supervised Run(const std::vector<std::string>& parts, Replay replay,
                 const std::shared_ptr<const Sandbox>& sandbox = nullptr, const std::string& host = "") {
    auto options = playground_.Options(parts);
    options.replay = replay;
    options.sandbox = sandbox;
    if (!host.empty()) options.programs[0].host = playground_.HostCalled(host);
    Supervised session = RunSupervised(options, 60);
    EXPECT_THAT(session.error, IsEmpty());
    EXPECT_EQ(session.left, 0) << "processes were left";
    return session;
  }

  Playground playground_;
};

TEST_F(Forgeries, PassWhereAnnouncementsAreBelieved) {
  const Supervised session = Run({"forgeries"}, Replay::kNone);
  for (const auto& [id, result] : session.results) EXPECT_EQ(result.status, Status::kPassed) << id << result.message;
}

TEST_F(Forgeries, AreFoundByAReplay) {
  Supervised session = Run({"honest", "forgeries"}, Replay::kAll);
  EXPECT_EQ(session.results["cost"].status, Status::kPassed) << session.results["cost"].message;
  const auto& hidden = session.results["hides_messages"];
  EXPECT_EQ(hidden.status, Status::kFailed);
  EXPECT_THAT(hidden.message, AllOf(HasSubstr("this passed, but not once more"),
                                    HasSubstr("rank 0 announced 2 messages of 96 bytes in all, and sent 10 of 480")));
}

TEST_F(Forgeries, WhoMeetsElsewhereIsFoundInTheSandbox) {
  const std::string why_not = Sandbox::WhyNoNamespaces();
  if (!why_not.empty()) GTEST_SKIP() << why_not;
  Supervised session = Run({"honest", "forgeries"}, Replay::kAll, Sandbox::Find());
  EXPECT_EQ(session.results["cost"].status, Status::kPassed) << session.results["cost"].message;
  for (const char* forgery : {"hides_messages", "talks_through_a_file"}) {
    EXPECT_EQ(session.results[forgery].status, Status::kFailed) << forgery;
    EXPECT_THAT(session.results[forgery].message, HasSubstr("this passed, but not once more")) << forgery;
  }
  for (const char* meeting : {"talks_through_a_file", "meets_in_the_keyring", "meets_at_a_lock"}) {
    EXPECT_EQ(session.results[meeting].status, Status::kFailed) << meeting;
    EXPECT_THAT(session.results[meeting].message, HasSubstr("sum on rank 0 is wrong")) << meeting;
  }
}

// Nobody gets further with a collective than the communicator that refuses it, whether what is behind it is asked, or
// Gloo.
TEST_F(Forgeries, CollectivesWhereThereAreToBeMessages) {
  for (const Replay replay : {Replay::kNone, Replay::kAll}) {
    Supervised session = Run({"underhand"}, replay);
    EXPECT_EQ(session.results["honest_messages"].status, Status::kPassed) << session.results["honest_messages"].message;
    for (const char* attack : {"asks_behind_the_wrapper", "asks_behind_the_announcements"}) {
      EXPECT_EQ(session.results[attack].status, Status::kFailed) << attack;
      EXPECT_THAT(session.results[attack].message, HasSubstr("AllReduce is not available here")) << attack;
    }
    EXPECT_EQ(session.results["asks_gloo"].status, Status::kTimeout) << session.results["asks_gloo"].message;
    EXPECT_EQ(session.results["counts_as_a_collective"].status, Status::kFailed);
    EXPECT_THAT(session.results["counts_as_a_collective"].message,
                HasSubstr("took part in 1 of the communicator's own collectives"));
  }
}

TEST_F(Forgeries, AClockThatIsTurnedMovesNoAnnouncement) {
  Supervised session = Run({"clock"}, Replay::kNone);
  EXPECT_EQ(session.results["order_of_announcements"].status, Status::kPassed)
      << session.results["order_of_announcements"].message;
}

TEST_F(Forgeries, AHostThatWasTakenOverIsFound) {
  Supervised session = Run({"honest"}, Replay::kSample, nullptr, "host_takes_over");
  EXPECT_EQ(session.results["values"].status, Status::kFailed);
  EXPECT_EQ(session.results["cost"].status, Status::kFailed);
  EXPECT_THAT(session.results["cost"].message,
              HasSubstr("rank 0 announced 2 messages of 96 bytes in all, and sent 0 of 0"));
}

}  // namespace
