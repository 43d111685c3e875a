// A submission that attacks while its ranks run: what it gets, what the report says, what is left.

#include <unistd.h>

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "playground.hpp"
#include "shardlab/launch/scope.hpp"

namespace {

using shardlab::grade::ListedCase;
using shardlab::grade::Status;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

/// Without the sandbox a submission runs as the user: only some kernels hold these attacks back then.
std::string WhyNotTried(const std::string& attack) {
  const bool signals = attack == "kills_the_supervisor" || attack == "kills_the_referee" || attack == "stops_everybody";
  if (signals && !shardlab::launch::ScopeHoldsSignals()) return "this kernel has no scopes for signals";
  return "";
}

class Attacks : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    playground_ = new Playground;
    auto options = playground_->Options({"attacks"});
    options.skip = [](const ListedCase& listed) { return WhyNotTried(listed.id.substr(0, listed.id.find('/'))); };
    session_ = new Supervised(RunSupervised(options, 60));
  }
  static void TearDownTestSuite() {
    delete session_;
    delete playground_;
  }
  static std::string Message(const std::string& attack) { return session_->results[attack].message; }
  static Status StatusOf(const std::string& attack) { return session_->results[attack].status; }

  static Playground* playground_;
  static Supervised* session_;
};
Playground* Attacks::playground_ = nullptr;
Supervised* Attacks::session_ = nullptr;

TEST_F(Attacks, EarnNothing) {
  ASSERT_THAT(session_->error, IsEmpty());
  ASSERT_GT(session_->results.size(), 20u);
  for (const auto& [attack, result] : session_->results) {
    if (attack == "honest_afterwards") continue;
    EXPECT_NE(result.status, Status::kPassed) << attack;
  }
  EXPECT_EQ(StatusOf("honest_afterwards"), Status::kPassed) << Message("honest_afterwards");
}

TEST_F(Attacks, LeaveNothing) {
  EXPECT_EQ(session_->left, 0);
  EXPECT_THAT(playground_->Leftovers(), IsEmpty());
  EXPECT_LT(session_->seconds, 60);
}

TEST_F(Attacks, AreCalledByTheirNames) {
  for (const char* wrong : {"prints_scores", "detaches", "leaves_threads", "reads_memory", "reads_the_seed"}) {
    EXPECT_THAT(Message(wrong), HasSubstr("sum on rank 0 is wrong")) << wrong;
  }
  EXPECT_THAT(Message("exits"), HasSubstr("called exit(0) in the middle of the body"));
  EXPECT_THAT(Message("exits_at_once"), HasSubstr("ended with _exit(0) in the middle of the body"));
  EXPECT_THAT(Message("becomes_true"), HasSubstr("in the middle of the body"));
  EXPECT_THAT(Message("claims_to_have_returned"), HasSubstr("sum on rank 0 is missing"));
  EXPECT_THAT(Message("kills_the_host"), HasSubstr("the program that runs the ranks"));
}

TEST_F(Attacks, CannotKeepTheSupervisorFromItsClock) {
  EXPECT_THAT(Message("announces_threads"), HasSubstr("rank 0 announces more than 256 threads at once"));
}

TEST_F(Attacks, CannotSpeakToTheTerminal) {
  const std::string message = Message("prints_escapes");
  EXPECT_THAT(message, HasSubstr(R"(\x1b]0;owned\x07\x1b[2J\x1b[32mpassed\x0d\x9b32m \u202e \xff\x08)"));
  for (const char letter : message) {
    EXPECT_TRUE(letter == '\n' || (static_cast<unsigned char>(letter) >= 0x20 && letter != 0x7f)) << message;
  }
}

TEST_F(Attacks, CannotReachSupervisorAndReferee) {
  for (const char* attack : {"reads_memory", "reads_the_seed", "kills_the_supervisor", "kills_the_referee"}) {
    EXPECT_THAT(Message(attack), Not(HasSubstr("REACHED"))) << attack;
  }
  // The ranks stop, and are still ended in time.
  if (StatusOf("stops_everybody") != Status::kSkipped) {
    EXPECT_EQ(StatusOf("stops_everybody"), Status::kTimeout);
  }
}

}  // namespace
