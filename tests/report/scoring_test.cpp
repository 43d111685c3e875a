// The rule of points, on a module small enough to follow by hand: `first` (2 points), `second` (1 point, after first),
// `extra` (1 bonus point).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "shardlab/report/score_card.hpp"

namespace shardlab {
namespace {

using grade::CaseResult;
using grade::Kind;
using grade::ListedCase;
using grade::Status;
using testing::HasSubstr;

Rubric SmallRubric() {
  return ParseRubric(R"(
    id = "demo"
    title = "A demonstration"
    [[part]]
    id = "first"
    title = "The first part"
    points = 2
    files = ["first.cpp", "shared.cpp"]
    [[part]]
    id = "second"
    title = "The second part"
    points = 1
    after = ["first"]
    files = ["second.cpp"]
    [[part]]
    id = "extra"
    title = "The extra part"
    points = 1
    bonus = true
    files = ["extra.cpp"]
  )",
                     "demo/rubric.toml");
}

/// The listed cases and their results, built side by side.
struct GradedCases {
  std::vector<ListedCase> listed;
  std::vector<CaseResult> results;

  GradedCases& List(const std::string& part, const std::string& id, Kind kind) {
    listed.push_back({"demo." + part, id, kind, 1});
    return *this;
  }
  GradedCases& Add(const std::string& part, const std::string& id, Kind kind, Status status,
                   const std::string& message = "") {
    List(part, id, kind);
    CaseResult result;
    result.part = "demo." + part;
    result.id = id;
    result.kind = kind;
    result.status = status;
    result.message = message;
    results.push_back(result);
    return *this;
  }
  PartScore First(const ScoreOptions& options = {}) const {
    return ScoreModule(SmallRubric(), listed, results, options).parts.at(0);
  }
};

TEST(Scoring, APartWithAllCasesPassedGetsAllItsPoints) {
  GradedCases run;
  run.Add("first", "values", Kind::kValue, Status::kPassed).Add("first", "cost", Kind::kCost, Status::kPassed);
  EXPECT_EQ(run.First().score, 2);
  EXPECT_EQ(run.First().status, Status::kPassed);
}

TEST(Scoring, NothingUntilAllValueCasesPass) {
  GradedCases run;
  run.Add("first", "even", Kind::kValue, Status::kPassed)
      .Add("first", "odd", Kind::kValue, Status::kFailed, "rank 1 got 3 for 2")
      .Add("first", "gradients", Kind::kGradient, Status::kPassed)
      .Add("first", "cost", Kind::kCost, Status::kPassed);
  EXPECT_EQ(run.First().score, 0);
  EXPECT_EQ(run.First().status, Status::kFailed);
  EXPECT_EQ(run.First().reason, "rank 1 got 3 for 2");
}

TEST(Scoring, HalfForTheValuesAndEqualSharesForTheKindsThatThePartHas) {
  for (const int passed : {0, 1, 2, 3}) {
    GradedCases run;
    run.Add("first", "values", Kind::kValue, Status::kPassed);
    int at = 0;
    for (const Kind kind : {Kind::kGradient, Kind::kCost, Kind::kRobustness}) {
      run.Add("first", std::string("one ") + Name(kind), kind, Status::kPassed);
      run.Add("first", std::string("two ") + Name(kind), kind, at++ < passed ? Status::kPassed : Status::kFailed);
    }
    EXPECT_NEAR(run.First().score, 1 + passed / 3.0, 1e-15) << passed << " of three kinds passed";
    EXPECT_EQ(run.First().status, passed == 3 ? Status::kPassed : Status::kFailed);
  }
  GradedCases two_kinds;
  two_kinds.Add("first", "values", Kind::kValue, Status::kPassed)
      .Add("first", "cost", Kind::kCost, Status::kPassed)
      .Add("first", "alone", Kind::kRobustness, Status::kFailed);
  EXPECT_EQ(two_kinds.First().score, 1.5);
}

TEST(Scoring, APartWithoutValueCasesSharesItsPointsAmongTheOthers) {
  GradedCases run;
  run.Add("first", "gradients", Kind::kGradient, Status::kPassed).Add("first", "cost", Kind::kCost, Status::kFailed);
  EXPECT_EQ(run.First().score, 1);
}

TEST(Scoring, OnlyExplicitPassesOfListedCasesCount) {
  GradedCases nothing_ran;
  nothing_ran.List("first", "values", Kind::kValue).List("first", "cost", Kind::kCost);
  EXPECT_EQ(nothing_ran.First().score, 0);
  EXPECT_EQ(nothing_ran.First().status, Status::kSkipped);

  GradedCases ended_early;
  ended_early.Add("first", "values", Kind::kValue, Status::kPassed).List("first", "cost", Kind::kCost);
  ScoreOptions options;
  options.why_not_run = "not run: the run was ended with Ctrl-C";
  EXPECT_EQ(ended_early.First(options).score, 1);
  EXPECT_EQ(ended_early.First(options).status, Status::kSkipped);
  EXPECT_EQ(ended_early.First(options).reason, options.why_not_run);
  EXPECT_EQ(ended_early.First(options).cases.at(1).message, options.why_not_run);

  GradedCases not_listed;
  not_listed.Add("first", "values", Kind::kValue, Status::kPassed);
  not_listed.listed.clear();
  EXPECT_EQ(not_listed.First().score, 0);
  EXPECT_EQ(not_listed.First().status, Status::kSkipped);
}

TEST(Scoring, OfTwoResultsForOneCaseTheWorseCounts) {
  GradedCases run;
  run.Add("first", "values", Kind::kValue, Status::kFailed, "wrong")
      .Add("first", "values", Kind::kValue, Status::kPassed);
  run.listed.pop_back();
  EXPECT_EQ(run.First().score, 0);
  EXPECT_EQ(run.First().reason, "wrong");
}

TEST(Scoring, TheKindIsTheListsAndNotTheResults) {
  GradedCases run;
  run.Add("first", "values", Kind::kValue, Status::kFailed).Add("first", "cost", Kind::kCost, Status::kPassed);
  run.results[0].kind = Kind::kCost;  // a value case that calls itself something else
  EXPECT_EQ(run.First().score, 0);
}

TEST(Scoring, StatusGoesByPrecedenceAndReasonByKind) {
  const std::vector<Status> by_urgency = {Status::kNotImplemented, Status::kDeadlock, Status::kCrashed,
                                          Status::kTimeout,        Status::kFailed,   Status::kSkipped};
  for (size_t i = 0; i + 1 < by_urgency.size(); ++i) {
    GradedCases run;
    run.Add("first", "a", Kind::kValue, by_urgency[i + 1], "later")
        .Add("first", "b", Kind::kCost, by_urgency[i], "first");
    EXPECT_EQ(run.First().status, by_urgency[i]);
    EXPECT_EQ(run.First().reason, "first");
  }
  GradedCases same;
  same.Add("first", "a", Kind::kCost, Status::kFailed, "cost")
      .Add("first", "b", Kind::kValue, Status::kFailed, "value");
  EXPECT_EQ(same.First().reason, "value");
}

TEST(Scoring, AFileThatDoesNotCompileCostsItsPartsOnly) {
  GradedCases run;
  run.Add("first", "values", Kind::kValue, Status::kNotImplemented)
      .Add("extra", "values", Kind::kValue, Status::kPassed);
  ScoreOptions options;
  options.compile_failures = {{"shared.cpp", "shared.cpp:3:1: error: expected ';'"}};
  const ModuleScore module = ScoreModule(SmallRubric(), run.listed, run.results, options);
  EXPECT_EQ(module.parts[0].status, Status::kDoesNotCompile);
  EXPECT_EQ(module.parts[0].reason, "shared.cpp:3:1: error: expected ';'");
  EXPECT_EQ(module.parts[0].cases[0].status, Status::kDoesNotCompile);
  EXPECT_EQ(module.parts[2].status, Status::kPassed);
  EXPECT_EQ(module.bonus, 1);
}

TEST(Scoring, APartAfterOneThatDidNotPassIsSkippedAndSaysSo) {
  GradedCases run;
  run.Add("first", "values", Kind::kValue, Status::kFailed).Add("second", "values", Kind::kValue, Status::kPassed);
  const ModuleScore module = ScoreModule(SmallRubric(), run.listed, run.results);
  EXPECT_EQ(module.parts[1].status, Status::kSkipped);
  EXPECT_EQ(module.parts[1].score, 0);
  EXPECT_THAT(module.parts[1].reason, HasSubstr("demo.first"));
}

TEST(Scoring, PartsThatWereNotAskedForAreNotOnTheCard) {
  GradedCases run;
  run.Add("second", "values", Kind::kValue, Status::kPassed);
  ScoreOptions options;
  options.parts = {"second"};
  const ModuleScore module = ScoreModule(SmallRubric(), run.listed, run.results, options);
  ASSERT_EQ(module.parts.size(), 1u);
  EXPECT_EQ(module.parts[0].status, Status::kPassed);
  EXPECT_EQ(module.score, 1);
  EXPECT_EQ(module.max, 1);
  EXPECT_EQ(module.bonus_max, 0);
}

TEST(Scoring, AnEarlierPartThatRanCountsWithoutBeingOnTheCard) {
  GradedCases run;
  run.Add("first", "values", Kind::kValue, Status::kFailed).Add("second", "values", Kind::kValue, Status::kPassed);
  ScoreOptions options;
  options.parts = {"second"};
  const ModuleScore module = ScoreModule(SmallRubric(), run.listed, run.results, options);
  ASSERT_EQ(module.parts.size(), 1u);
  EXPECT_EQ(module.parts[0].status, Status::kSkipped);
  EXPECT_EQ(module.score, 0);
}

TEST(Scoring, SumsKeepBonusPointsApart) {
  GradedCases run;
  run.Add("first", "v", Kind::kValue, Status::kPassed).Add("extra", "v", Kind::kValue, Status::kPassed);
  ScoreCard card;
  card.modules = {ScoreModule(SmallRubric(), run.listed, run.results)};
  EXPECT_EQ(card.Score(), 2);
  EXPECT_EQ(card.Max(), 3);
  EXPECT_EQ(card.Bonus(), 1);
  EXPECT_EQ(card.BonusMax(), 1);
  EXPECT_FALSE(card.AllPassed());
  EXPECT_FALSE(ScoreCard{}.AllPassed()) << "a card without parts has passed nothing";
}

}  // namespace
}  // namespace shardlab
