// A whole module graded: host, referee, and what the supervisor learns from them.

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
using ::testing::EndsWith;
using ::testing::HasSubstr;

SessionOptions Options(const std::vector<std::string>& parts) {
  SessionOptions options;
  options.module = "tests";
  options.programs = {{SHARDLAB_TEST_HOST, SHARDLAB_TEST_REFEREE}};
  options.seed = 42;
  options.parts = parts;
  return options;
}

std::map<std::string, CaseResult> ById(const SessionResult& session) {
  std::map<std::string, CaseResult> results;
  for (const CaseResult& result : session.results) results[result.id] = result;
  return results;
}

class SessionTest : public ::testing::Test {
 protected:
  void TearDown() override { EXPECT_TRUE(launch::ChildrenOf(getpid()).empty()); }
};

TEST_F(SessionTest, PassesWhatIsRight) {
  SessionOptions options = Options({"tests.good"});
  size_t listed = 0;
  std::vector<std::string> started;
  std::vector<std::string> finished;
  options.on_cases = [&](const std::vector<ListedCase>& list) { listed = list.size(); };
  options.on_start = [&](const ListedCase& begun) { started.push_back(begun.id); };
  options.on_result = [&](const CaseResult& result) { finished.push_back(result.id); };
  std::map<std::string, size_t> events;
  options.on_run = [&](const ListedCase& run, const CaseOutcome& outcome) {
    EXPECT_EQ(started.back(), run.id) << "a run belongs to the case that was begun";
    EXPECT_EQ(finished.size() + 1, started.size()) << "and comes before its result";
    events[run.id] += outcome.events.size();
  };
  const SessionResult session = RunGradeSession(options);
  EXPECT_EQ(listed, 6u);
  EXPECT_EQ(events["ring_cost/ranks=3"], 3 * (2 * 3 + 1u)) << "post, wait, end of a send and a receive; the return";
  EXPECT_THAT(started, ElementsAre("sum_values/ranks=1", "sum_values/ranks=2", "sum_values/ranks=3",
                                   "ring_cost/ranks=3", "curve/ranks=1", "any_outcome/ranks=2"));
  EXPECT_EQ(finished, started);
  for (const CaseResult& result : session.results) {
    EXPECT_EQ(result.status, Status::kPassed) << result.id << ": " << result.message;
    EXPECT_EQ(result.part, "tests.good");
  }
  const CaseResult cost = ById(session)["ring_cost/ranks=3"];
  EXPECT_EQ(cost.kind, Kind::kCost);
  EXPECT_TRUE(cost.has_figure);
  EXPECT_EQ(cost.measured, 3);
  EXPECT_EQ(cost.target, 3);
  EXPECT_EQ(cost.unit, "messages");
  ASSERT_EQ(session.curves.size(), 1u);
  EXPECT_EQ(session.curves[0].name, "loss");
  EXPECT_EQ(session.curves[0].run[0], 2);
  EXPECT_TRUE(session.curves[0].run[1] != session.curves[0].run[1]) << "NaN must stay NaN";
  EXPECT_FALSE(session.libtorch.empty());
}

TEST_F(SessionTest, ShowsWhatIsWrong) {
  const SessionResult session = RunGradeSession(Options({"tests.bad"}));
  auto results = ById(session);
  for (const auto& [id, result] : results) EXPECT_NE(result.status, Status::kPassed) << id;

  EXPECT_EQ(
      results["doubled/ranks=2"].message,
      "gradient of layer1.weight on rank 1 is wrong in 6 of 6 elements: at [0, 0] of the shard, [4, 0] of the full "
      "tensor expected 1, got 2, 2 times as much, as is every wrong element\n"
      "  this is what you get when it is added up over the 2 ranks: each of them has it whole, or a division by 2 is "
      "missing\n"
      "  got (wrong ones between asterisks):\n"
      "      *2*  *4*  *6*\n"
      "      *8* *10* *12*\n"
      "  expected:\n"
      "      1   2   3 \n"
      "      4   5   6 ");
  EXPECT_THAT(results["doubled/ranks=2"].evidence.at("diagnosis").get<std::string>(),
              HasSubstr("added up over the 2 ranks"));
  EXPECT_EQ(results["doubled/ranks=2"].evidence.at("tensor").at("full_index"), (std::vector<int64_t>{4, 0}));
  EXPECT_THAT(results["not_close/ranks=1"].message,
              AllOf(HasSubstr("value on rank 0 is wrong in 1 of 100 elements: at [7]"),
                    HasSubstr("in norm it is off by 1e-06")));
  EXPECT_THAT(results["wrong_shape/ranks=1"].message, HasSubstr("value on rank 0 has shape [6]; expected [2, 3]"));
  EXPECT_THAT(results["wrong_dtype/ranks=1"].message, HasSubstr("value on rank 0 is float32; expected float64"));
  EXPECT_THAT(results["missing/ranks=1"].message, HasSubstr("value on rank 0 is missing"));
  EXPECT_EQ(results["costs_too_much/ranks=2"].message,
            "messages: 2 messages; expected exactly 1\n"
            "  this is what you get when both ranks send\n"
            "  measured beside the target:\n"
            "    * messages: 2 messages, target 1\n"
            "      rounds: 1 rounds, target 1");
  EXPECT_EQ(results["costs_too_much/ranks=2"].evidence.at("figures").size(), 2u);
  EXPECT_EQ(results["costs_too_much/ranks=2"].evidence.at("figures")[1].at("met"), false);
  EXPECT_THAT(results["wrong_but_measured/ranks=2"].message,
              AllOf(HasSubstr("other on rank 0 is wrong"), HasSubstr("      messages: 2 messages, target 2")));
  EXPECT_THAT(results["never_written/ranks=1"].message,
              HasSubstr("the wrong ones: they were never written, or computed from what was not"));
  EXPECT_THAT(
      results["reads_too_early/ranks=2"].message,
      HasSubstr("the wrong ones: they were read from a receive buffer before its Wait: until then it holds nothing"));
  EXPECT_EQ(results["costs_too_much/ranks=2"].measured, 2);
  EXPECT_THAT(results["prints_and_is_wrong/ranks=1"].message,
              AllOf(HasSubstr("the sum of the parts must be the whole"), EndsWith("hello from rank 0\n    and again")));
  EXPECT_THAT(results["checks_nothing/ranks=1"].message, HasSubstr("checks nothing"));
  EXPECT_THAT(results["no_such_body/ranks=1"].message, HasSubstr("no body 'nosuch'"));
  EXPECT_THAT(results["wrong_inputs/ranks=3"].message, HasSubstr("give one for each of the 3 ranks"));
  EXPECT_THAT(results["grader_throws/ranks=1"].message, HasSubstr("could not judge this: no such layer"));
}

TEST_F(SessionTest, HandsOnTheGraphOfADeadlockAndTheStackOfACrash) {
  auto results = ById(RunGradeSession(Options({"tests.bad"})));
  const nlohmann::json waits = results["deadlock/ranks=2"].evidence.value("waits", nlohmann::json::array());
  ASSERT_EQ(waits.size(), 2u);
  EXPECT_EQ(waits[0]["rank"], 0);
  EXPECT_EQ(waits[0]["waits_for"], std::vector<int>{1});
  EXPECT_EQ(waits[0]["in_cycle"], true);
  EXPECT_EQ(results["missing/ranks=1"].evidence.count("waits"), 0u);
  const nlohmann::json stacks = results["crashes/ranks=2"].evidence.value("stacks", nlohmann::json::array());
  ASSERT_EQ(stacks.size(), 1u);
  EXPECT_EQ(stacks[0]["rank"], 1);
  EXPECT_EQ(stacks[0]["why"], "SIGFPE");
  EXPECT_EQ(stacks[0]["frames"][0]["function"], "ChunkLength");
}

TEST_F(SessionTest, GoesOnAfterTheHostDied) {
  auto results = ById(RunGradeSession(Options({"tests.stub"})));
  EXPECT_EQ(results["not_implemented/ranks=2"].status, Status::kNotImplemented);
  EXPECT_EQ(results["kills_the_host/ranks=2"].status, Status::kCrashed);
  EXPECT_EQ(results["works_again/ranks=2"].status, Status::kPassed) << results["works_again/ranks=2"].message;
}

TEST_F(SessionTest, RunsOnlyWhatWasAskedFor) {
  SessionOptions options = Options({});
  options.ranks = 3;
  options.case_filter = "sum";
  const SessionResult session = RunGradeSession(options);
  ASSERT_EQ(session.results.size(), 1u);
  EXPECT_EQ(session.results[0].id, "sum_values/ranks=3");
}

TEST_F(SessionTest, SaysWhatThereIsWhenNothingFits) {
  SessionOptions options = Options({"tests.good"});
  options.ranks = 17;
  EXPECT_THAT(MessageOf<UsageError>([&] { RunGradeSession(options); }),
              AllOf(HasSubstr("tests.good, tests.bad"), HasSubstr("1, 2, 3 ranks")));
}

TEST_F(SessionTest, RunsOneCaseByItsName) {
  const auto ids = [&](const std::string& name) {
    SessionOptions options = Options({"tests.good"});
    options.case_name = name;
    std::vector<std::string> found;
    for (const ListedCase& listed : RunGradeSession(options).listed) found.push_back(listed.id);
    return found;
  };
  EXPECT_THAT(ids("sum_values/ranks=2"), testing::ElementsAre("sum_values/ranks=2"));
  EXPECT_THAT(ids("curve"), testing::ElementsAre("curve/ranks=1"));
  for (const auto& [name, words] :
       std::map<std::string, std::string>{{"sum_vlaues/ranks=2",
                                           "unknown case of tests.good 'sum_vlaues': did you mean 'sum_values'? There "
                                           "are sum_values, ring_cost, curve, "
                                           "any_outcome."},
                                          {"sum_values/ranks=7",
                                           "there is no case sum_values/ranks=7, but sum_values on other numbers of "
                                           "ranks; --case sum_values runs it on "
                                           "all"}}) {
    try {
      ids(name);
      ADD_FAILURE() << name;
    } catch (const UsageError& error) {
      EXPECT_EQ(error.what(), words);
    }
  }
}

TEST_F(SessionTest, BeginsWithTheCasesThatItIsToldToAndKeepsThePlan) {
  SessionOptions options = Options({"tests.good", "tests.bad"});
  options.first = {"tests.bad/missing/ranks=1", "tests.good/sum_values/ranks=3", "tests.good/gone/ranks=1"};
  std::vector<std::string> run;
  options.on_result = [&](const CaseResult& result) { run.push_back(result.id); };
  const SessionResult session = RunGradeSession(options);
  EXPECT_EQ(session.listed.at(0).id, "sum_values/ranks=1");
  ASSERT_EQ(run.size(), session.listed.size());
  EXPECT_EQ(run[0], "sum_values/ranks=3");
  EXPECT_EQ(run[1], "missing/ranks=1");
  EXPECT_EQ(run[2], "sum_values/ranks=1");
  for (size_t i = 0; i < session.results.size(); ++i) EXPECT_EQ(session.listed[i].id, session.results[i].id);
}

TEST_F(SessionTest, SkipsWithTheReasonGiven) {
  SessionOptions options = Options({"tests.good"});
  options.skip = [](const ListedCase& listed) {
    return listed.id == "curve/ranks=1" ? std::string() : std::string("builds on tests.bad, which has not passed");
  };
  const SessionResult session = RunGradeSession(options);
  for (const CaseResult& result : session.results) {
    if (result.id == "curve/ranks=1") {
      EXPECT_EQ(result.status, Status::kPassed);
    } else {
      EXPECT_EQ(result.status, Status::kSkipped);
      EXPECT_EQ(result.message, "builds on tests.bad, which has not passed");
    }
  }
}

TEST_F(SessionTest, EndsSoonWhenCancelled) {
  std::atomic<bool> cancel{false};
  SessionOptions options = Options({"tests.good"});
  options.cancel = &cancel;
  options.on_result = [&](const CaseResult&) { cancel = true; };
  const SessionResult session = RunGradeSession(options);
  EXPECT_TRUE(session.cancelled);
  EXPECT_EQ(session.results[0].status, Status::kPassed);
  EXPECT_EQ(session.results[1].status, Status::kSkipped);
  EXPECT_EQ(session.results[1].message, "not run: cancelled");
}

TEST_F(SessionTest, ARefereeThatDiesIsTheGradersFault) {
  SessionOptions options = Options({});
  options.programs[0].referee = SHARDLAB_TEST_DYING_REFEREE;
  EXPECT_THAT(MessageOf<EnvironmentError>([&] { RunGradeSession(options); }),
              AllOf(HasSubstr("the referee"), HasSubstr("the oracle ran out of memory")));
}

TEST_F(SessionTest, AMissingProgramIsNamed) {
  SessionOptions options = Options({});
  options.programs[0].referee = "/nonexistent/referee";
  EXPECT_THAT(MessageOf<EnvironmentError>([&] { RunGradeSession(options); }),
              HasSubstr("cannot start /nonexistent/referee: No such file or directory"));
}

}  // namespace
}  // namespace shardlab::grade
