// The rule of points, on a module small enough to follow by hand: `first` (2 points), `second` (1 point, after first),
// `extra` (1 bonus point).
#include <string>
#include <tuple>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "shardlab/report/score_card.hpp"

namespace shardlab {
namespace {

using grade::CaseResult;
using grade::Kind;
using grade::ListedCase;
using grade::Status;
using testing::ElementsAre;

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

TEST(Scoring, StatusAndReasonAreThoseOfTheCaseThatIsShownFirst) {
  GradedCases run;
  run.Add("first", "skipped", Kind::kValue, Status::kSkipped, "not run")
      .Add("first", "other", Kind::kValue, Status::kNotImplemented, "not implemented yet: demo.first: Other")
      .Add("first", "refuses", Kind::kRobustness, Status::kCrashed, "refusal")
      .Add("first", "cost", Kind::kCost, Status::kFailed, "cost")
      .Add("first", "values/ranks=2", Kind::kValue, Status::kFailed, "value")
      .Add("first", "values/ranks=3", Kind::kValue, Status::kDeadlock, "larger");
  const char* const kInOrder[] = {"value",  "larger", "cost", "refusal", "not implemented yet: demo.first: Other",
                                  "not run"};
  for (const char* reason : kInOrder) {
    EXPECT_EQ(run.First().reason, reason);
    for (CaseResult& result : run.results) {
      if (result.message != reason) continue;
      EXPECT_EQ(run.First().status, result.status);
      result.status = Status::kPassed;
    }
  }
  EXPECT_EQ(run.First().status, Status::kPassed);
}

TEST(Scoring, AFileThatDoesNotCompileCostsItsPartsOnly) {
  GradedCases run;
  run.Add("first", "values", Kind::kValue, Status::kNotImplemented)
      .Add("extra", "values", Kind::kValue, Status::kPassed);
  ScoreOptions options;
  options.compile_failures = {{"shared.cpp", "shared.cpp:3:1: error: expected ';'"}, {"first.cpp", "first.cpp: gone"}};
  const ModuleScore module = ScoreModule(SmallRubric(), run.listed, run.results, options);
  EXPECT_EQ(module.parts[0].status, Status::kDoesNotCompile);
  EXPECT_EQ(module.parts[0].reason, "shared.cpp:3:1: error: expected ';'\nfirst.cpp: gone") << "all of them at once";
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
  EXPECT_EQ(module.parts[1].reason, "builds on demo.first, which fails now");
  run.results[0].status = Status::kNotImplemented;
  EXPECT_EQ(ScoreModule(SmallRubric(), run.listed, run.results).parts[1].reason,
            "builds on demo.first, which is not written yet");
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
  run.Add("first", "values", Kind::kValue, Status::kFailed, "wrong in 4 of 8")
      .Add("second", "values", Kind::kValue, Status::kPassed);
  ScoreOptions options;
  options.parts = {"second"};
  const ModuleScore module = ScoreModule(SmallRubric(), run.listed, run.results, options);
  ASSERT_EQ(module.parts.size(), 1u);
  EXPECT_EQ(module.parts[0].status, Status::kSkipped);
  EXPECT_EQ(module.parts[0].reason, "builds on demo.first, which fails now:\nvalues: wrong in 4 of 8");
  EXPECT_EQ(module.score, 0);
  ASSERT_EQ(module.before.size(), 1u) << "what was found of it is kept";
  EXPECT_EQ(module.before[0].status, Status::kFailed);
}

/// Pieces, what is known of both together, and a training that uses them.
Part PackSendTrain() {
  Part part;
  part.functions = {{"Pack", {"pack*"}, {}},
                    {"Send", {"send*"}, {}},
                    {"", {"late*"}, {"Pack", "Send"}},
                    {"Train", {"first_step*", "*"}, {"Pack", "Send"}}};
  return part;
}

/// The names of what FindBroken() finds among cases that went wrong, "-" before those that are not written, each with its
/// case.
std::vector<std::string> Broken(const std::vector<std::tuple<std::string, Kind, std::string>>& failures,
                                const Part& part = PackSendTrain()) {
  std::vector<CaseResult> cases;
  for (const auto& [id, kind, message] : failures) {
    CaseResult result;
    result.id = id;
    result.kind = kind;
    result.status = message.find("not implemented") == std::string::npos ? Status::kFailed : Status::kNotImplemented;
    result.message = message;
    cases.push_back(result);
  }
  std::vector<std::string> names;
  for (const Finding& finding : FindBroken(part, cases)) {
    names.push_back((finding.written ? "" : "-") + finding.function + " " + cases[finding.shown_by].id);
  }
  return names;
}

TEST(Broken, PiecesComeBeforeTrainingAndTrainingSaysNothingNew) {
  EXPECT_THAT(Broken({{"curve/ranks=2", Kind::kValue, "wrong"}, {"send/ranks=2", Kind::kValue, "wrong"}}),
              ElementsAre("Send send/ranks=2"));
  EXPECT_THAT(Broken({{"curve/ranks=2", Kind::kValue, "wrong"}, {"send_gradient/ranks=2", Kind::kGradient, "wrong"}}),
              ElementsAre("Send send_gradient/ranks=2"))
      << "a wrong gradient makes a wrong curve";
  EXPECT_THAT(Broken({{"send_cost/ranks=2", Kind::kCost, "dear"}, {"curve/ranks=2", Kind::kValue, "wrong"}}),
              ElementsAre("Train curve/ranks=2", "Send send_cost/ranks=2"))
      << "a cost does not make a wrong curve";
}

TEST(Broken, OfAFunctionTheCaseThatTheRubricNamesFirstIsShown) {
  EXPECT_THAT(Broken({{"curve/ranks=1", Kind::kValue, "wrong"},
                      {"first_step_of_adam/ranks=3", Kind::kGradient, "wrong"},
                      {"first_step/ranks=2", Kind::kGradient, "wrong"}}),
              ElementsAre("Train first_step_of_adam/ranks=3"));
  EXPECT_THAT(Broken({{"send_refuses/ranks=1", Kind::kRobustness, "a refusal"},
                      {"send/ranks=2", Kind::kValue, "a mean of means"},
                      {"send/ranks=3", Kind::kValue, "wrong"}}),
              ElementsAre("Send send/ranks=2"));
}

TEST(Broken, WhatIsWrittenAndWrongComesBeforeWhatIsNotWritten) {
  const std::string stub = "rank 1: not implemented yet: demo.first: Pack (exercises/demo/pack.cpp)";
  EXPECT_THAT(Broken({{"pack/ranks=1", Kind::kValue, stub},
                      {"pack/ranks=2", Kind::kValue, stub},
                      {"send/ranks=2", Kind::kValue, "a deadlock"},
                      {"curve/ranks=2", Kind::kValue, stub}}),
              ElementsAre("Send send/ranks=2", "-Pack pack/ranks=1"));
}

TEST(Broken, ACaseThatJudgesSeveralBlamesThemOnlyWhereNoneIsBrokenByItself) {
  EXPECT_THAT(Broken({{"late/ranks=2", Kind::kRobustness, "wrong"}}), ElementsAre("Pack, Send late/ranks=2"));
  EXPECT_THAT(Broken({{"late/ranks=2", Kind::kRobustness, "wrong"}, {"pack/ranks=2", Kind::kValue, "wrong"}}),
              ElementsAre("Pack pack/ranks=2"));
}

TEST(Broken, WithoutATableAllCasesAreOneFunctions) {
  std::vector<CaseResult> cases(2);
  for (CaseResult& result : cases) result.status = Status::kFailed;
  cases[0].kind = Kind::kCost;
  const std::vector<Finding> found = FindBroken(Part{}, cases);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].shown_by, 1u);
  EXPECT_EQ(found[0].function, "");
}

// What a student met once: each of these was hidden behind another message.
TEST(Broken, TheCourseShowsTheRightOneFirst) {
  const auto part = [](const std::string& module, const std::string& id) {
    return *LoadRubric(std::string(SHARDLAB_SOURCE_DIR) + "/graders/" + module + "/rubric.toml").Find(id);
  };
  const std::string stub =
      "rank 0: not implemented yet: communication.ring: RingReduceScatter (exercises/communication/...)";
  EXPECT_THAT(
      Broken({{"all_gather_values/ranks=2", Kind::kValue, "both wait"},
              {"all_gather_cost/ranks=2", Kind::kCost, "both wait"},
              {"reduce_scatter_values/ranks=1", Kind::kValue, stub}},
             part("communication", "ring")),
      ElementsAre("RingAllGather all_gather_values/ranks=2", "-RingReduceScatter reduce_scatter_values/ranks=1"));
  EXPECT_THAT(Broken({{"training/ranks=2", Kind::kValue, "the curve"},
                      {"versions_by_themselves/ranks=1", Kind::kValue, "w0 is changed in place"},
                      {"gradients_of_delayed_updates/ranks=3", Kind::kGradient, "the gradient"}},
                     part("pipeline", "pipedream")),
              ElementsAre("MakeWeightVersions versions_by_themselves/ranks=1"));
  EXPECT_THAT(Broken({{"refuses_three_ranks/ranks=3", Kind::kRobustness, "a deadlock"},
                      {"losses_of_three_steps/ranks=2", Kind::kValue, "a mean of means"}},
                     part("pipeline", "by_hand")),
              ElementsAre("TwoStageStep losses_of_three_steps/ranks=2"));
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
