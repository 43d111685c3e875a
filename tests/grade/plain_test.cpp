// Cases without LibTorch: by themselves, and as one with those that have it.

#include <unistd.h>

#include <atomic>
#include <map>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "../texts.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/grade/session.hpp"
#include "shardlab/launch/process.hpp"

namespace shardlab::grade {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const GraderPrograms kPlain = {SHARDLAB_TEST_PLAIN_HOST, SHARDLAB_TEST_PLAIN_REFEREE};
const GraderPrograms kOrdinary = {SHARDLAB_TEST_HOST, SHARDLAB_TEST_REFEREE};

class PlainTest : public ::testing::Test {
 protected:
  void TearDown() override { EXPECT_TRUE(launch::ChildrenOf(getpid()).empty()); }

  static SessionOptions Options(std::vector<GraderPrograms> programs, const std::vector<std::string>& parts) {
    SessionOptions options;
    options.module = "tests";
    options.programs = std::move(programs);
    options.seed = 42;
    options.parts = parts;
    return options;
  }
  static std::vector<std::string> Ids(const SessionResult& session) {
    std::vector<std::string> ids;
    for (const CaseResult& result : session.results) ids.push_back(result.id);
    return ids;
  }
};

TEST_F(PlainTest, TextsNumbersAndIntegersComeBack) {
  const SessionResult session = RunGradeSession(Options({kPlain}, {"tests.good"}));
  EXPECT_THAT(Ids(session), ElementsAre("handed_back/ranks=1", "draws/ranks=1"));
  for (const CaseResult& result : session.results) {
    EXPECT_EQ(result.status, Status::kPassed) << result.id << ": " << result.message;
  }
  EXPECT_EQ(session.results[1].kind, Kind::kCost);
  EXPECT_EQ(session.results[1].unit, "numbers");
  EXPECT_EQ(session.libtorch, "") << "nobody has computed with it";
}

TEST_F(PlainTest, WhatGoesWrongIsExplained) {
  const SessionResult session = RunGradeSession(Options({kPlain}, {"tests.plain"}));
  std::map<std::string, CaseResult> results;
  for (const CaseResult& result : session.results) results[result.id.substr(0, result.id.find('/'))] = result;
  ASSERT_EQ(results.size(), 8u);

  EXPECT_EQ(results["is_wrong"].status, Status::kFailed);
  EXPECT_EQ(results["is_wrong"].message, "2 + 2 is 4, not 5");
  EXPECT_EQ(results["costs_too_much"].message,
            "bubbles: 3 steps; expected exactly 2\n"
            "  this is what you get when the warm-up is one longer\n"
            "  measured beside the target:\n"
            "    * bubbles: 3 steps, target 2");
  EXPECT_EQ(results["not_implemented"].status, Status::kNotImplemented);
  EXPECT_THAT(results["not_implemented"].message, HasSubstr("tests.plain: Function (exercises/tests/file.cpp)"));
  EXPECT_EQ(results["crashes"].status, Status::kCrashed);
  EXPECT_THAT(results["crashes"].message, AllOf(HasSubstr("SIGFPE"), HasSubstr("StagesOf")));
  EXPECT_EQ(results["never_ends"].status, Status::kTimeout);
  EXPECT_THAT(results["never_ends"].message, HasSubstr("plain_never_ends"));
  EXPECT_THAT(results["handed_back_twice"].message, HasSubstr("'steps' was handed back twice"));
  EXPECT_THAT(results["missing"].message, HasSubstr("the body handed back no text 'number'"));
  EXPECT_THAT(results["checks_nothing"].message, HasSubstr("checks nothing"));
}

TEST_F(PlainTest, TwoGradersAreOneSession) {
  SessionOptions options = Options({kPlain, kOrdinary}, {"tests.good"});
  std::vector<size_t> lengths;
  std::vector<std::string> finished;
  options.on_cases = [&](const std::vector<ListedCase>& list) {
    EXPECT_TRUE(finished.empty()) << "all cases are known before the first case";
    lengths.push_back(list.size());
  };
  options.on_result = [&](const CaseResult& result) { finished.push_back(result.id); };
  const SessionResult session = RunGradeSession(options);
  EXPECT_THAT(lengths, ElementsAre(8u));
  EXPECT_THAT(finished, ElementsAre("handed_back/ranks=1", "draws/ranks=1", "sum_values/ranks=1", "sum_values/ranks=2",
                                    "sum_values/ranks=3", "ring_cost/ranks=3", "curve/ranks=1", "any_outcome/ranks=2"));
  EXPECT_EQ(Ids(session), finished);
  for (size_t i = 0; i < session.results.size(); ++i) {
    EXPECT_EQ(session.results[i].status, Status::kPassed) << session.results[i].id << session.results[i].message;
    EXPECT_EQ(session.listed.at(i).id, session.results[i].id);
  }
  EXPECT_EQ(session.curves.at(0).id, "curve/ranks=1");
  EXPECT_FALSE(session.libtorch.empty());
}

TEST_F(PlainTest, OneOfTheGradersMayHaveNothingToDo) {
  SessionOptions options = Options({kPlain, kOrdinary}, {"tests.good"});
  options.case_filter = "handed";
  EXPECT_THAT(Ids(RunGradeSession(options)), ElementsAre("handed_back/ranks=1"));
  options.case_filter = "sum";
  EXPECT_THAT(Ids(RunGradeSession(options)),
              ElementsAre("sum_values/ranks=1", "sum_values/ranks=2", "sum_values/ranks=3"));
  options.case_filter = "nosuch";
  EXPECT_THAT(MessageOf<UsageError>([&] { RunGradeSession(options); }),
              HasSubstr("tests.good, tests.plain, tests.rough, tests.bad"));
}

TEST_F(PlainTest, SkippingAndReplayingKnowWhichCaseIsMeant) {
  SessionOptions options = Options({kPlain, kOrdinary}, {"tests.good", "tests.mixed"});
  options.replay = Replay::kAll;
  options.skip = [](const ListedCase& listed) {
    return listed.id == "draws/ranks=1" || listed.id == "sum_values/ranks=2" ? "for this test" : "";
  };
  const SessionResult session = RunGradeSession(options);
  for (const CaseResult& result : session.results) {
    const bool skipped = result.id == "draws/ranks=1" || result.id == "sum_values/ranks=2";
    EXPECT_EQ(result.status, skipped ? Status::kSkipped : Status::kPassed) << result.id << ": " << result.message;
  }
  EXPECT_EQ(session.results.back().id, "asks_without_tensors_and_runs_with/ranks=2");
}

TEST_F(PlainTest, CancellingTheFirstGraderIsTheEndOfAll) {
  std::atomic<bool> cancel{false};
  SessionOptions options = Options({kPlain, kOrdinary}, {"tests.good"});
  options.cancel = &cancel;
  options.on_result = [&](const CaseResult&) { cancel = true; };
  const SessionResult session = RunGradeSession(options);
  EXPECT_TRUE(session.cancelled);
  ASSERT_EQ(session.results.size(), 8u);
  EXPECT_EQ(session.results[0].status, Status::kPassed);
  for (size_t i = 1; i < session.results.size(); ++i) {
    EXPECT_EQ(session.results[i].status, Status::kSkipped);
    EXPECT_EQ(session.results[i].message, "not run: cancelled");
  }
}

TEST_F(PlainTest, ARefereeThatDiesLeavesNothingOfTheOther) {
  SessionOptions options =
      Options({kPlain, {SHARDLAB_TEST_HOST, SHARDLAB_TEST_DYING_REFEREE}}, {"tests.good", "tests.part"});
  int passed = 0;
  options.on_result = [&](const CaseResult& result) { passed += result.status == Status::kPassed; };
  EXPECT_THROW(RunGradeSession(options), EnvironmentError);
  EXPECT_EQ(passed, 2) << "what was judged before counts";
}

}  // namespace
}  // namespace shardlab::grade
