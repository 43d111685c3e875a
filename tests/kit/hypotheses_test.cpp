// Every hypothesis fits its own mistake, and says its sentence.

#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "../../core/src/grade/diagnosis.hpp"
#include "kit/hypotheses.hpp"

namespace shardlab::grade {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

at::Tensor Numbers(const std::vector<int64_t>& shape, int seed) {
  at::manual_seed(seed);
  return at::randn(shape, at::kDouble);
}

std::string Said(const at::Tensor& got, const at::Tensor& expected, const Label& label) {
  return Diagnose(got, expected, label, /*rank=*/1, /*ranks=*/4);
}

TEST(Hypotheses, WhatIsOnlyPartlyWritten) {
  const at::Tensor whole = Numbers({4, 3}, 1);
  Label label;
  label.hypotheses = PartlyWritten("the last row never arrives", whole, [&](const at::Tensor& result) {
    result.narrow(0, 0, 3).copy_(whole.narrow(0, 0, 3));
  });
  at::Tensor got = whole.clone();
  got[3].zero_();
  EXPECT_THAT(Said(got, whole, label), HasSubstr("the last row never arrives"));
  got = NeverWrittenLike(whole);
  got.narrow(0, 0, 3).copy_(whole.narrow(0, 0, 3));
  EXPECT_THAT(Said(got, whole, label), HasSubstr("the last row never arrives"));
  got[2][1] = 0;
  EXPECT_THAT(Said(got, whole, label), IsEmpty());
}

TEST(Hypotheses, ANumberIsExplainedToo) {
  EXPECT_EQ(Explained(6, 2, {{"it is halved", 1}, {"it is tripled", 6}}),
            "\n  this is what you get when it is tripled");
  EXPECT_EQ(Explained(6.1, 2, {{"it is tripled", 6}}), "");
  EXPECT_EQ(Explained(2, 2, {{"it is right", 2}}), "");
}

// Every maker says its own sentence about its own value, and none about another's.
TEST(Hypotheses, EachFitsItsOwnMistake) {
  const at::Tensor right = Numbers({3, 2}, 50);
  const at::Tensor bias = Numbers({2}, 51);
  const auto other = [](int seed) { return [seed] { return Numbers({3, 2}, seed); }; };
  struct Mistake {
    Hypothesis hypothesis;
    std::string phrase;
  };
  const std::vector<Mistake> mistakes = {
      {BiasMistakes("the second bias", 3, other(60), bias)[0], "the second bias is missing"},
      {BiasMistakes("the second bias", 3, other(60), bias)[1], "the second bias was added 3 times"},
      {{EqualWeights("micro-batch"), other(61)}, "every micro-batch counts the same"},
      {{LastOverwrites("micro-batch"), other(62)}, "the last micro-batch overwrites those of the others"},
      {{kGradientsPileUp, other(63)}, "nobody sets them to zero"},
      {{kSharedGradientChanged, other(64)}, "which another branch holds too"},
      {{kSumInForward, other(65)}, "the sum belongs into backward"},
      {LocalStatistics(other(66)), "its own part alone"},
      {UnbiasedVariance("D", other(67)), "divided by D - 1; a norm divides by D"}};
  Label label;
  for (const Mistake& mistake : mistakes) label.hypotheses.push_back(mistake.hypothesis);
  for (const Mistake& mistake : mistakes) {
    EXPECT_THAT(Said(mistake.hypothesis.value(), right, label), HasSubstr(mistake.phrase));
  }
  EXPECT_THAT(Said(Numbers({3, 2}, 99), right, label), IsEmpty());
}

TEST(Hypotheses, AMistakenRunIsRepeatedOnceAndOnlyWhenAsked) {
  int runs = 0;
  const std::vector<MistakenRun> repeated = {
      {"the rate is doubled", [&] {
         ++runs;
         return MistakenRun::Outputs{{"losses", Numbers({5}, 1)}, {"weight", Numbers({2, 2}, 2)}};
       }}};
  Label label;
  label.hypotheses = For("losses", repeated);
  EXPECT_EQ(runs, 0);
  EXPECT_THAT(Said(Numbers({5}, 1), Numbers({5}, 3), label), HasSubstr("the rate is doubled"));
  label.hypotheses = For("weight", repeated);
  EXPECT_THAT(Said(Numbers({2, 2}, 2), Numbers({2, 2}, 3), label), HasSubstr("the rate is doubled"));
  label.hypotheses = For("no such output", repeated);
  EXPECT_THAT(Said(Numbers({2, 2}, 2), Numbers({2, 2}, 3), label), IsEmpty());
  EXPECT_EQ(runs, 1);
}

}  // namespace
}  // namespace shardlab::grade
