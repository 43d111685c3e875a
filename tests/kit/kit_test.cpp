#include <cmath>
#include <map>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kit/costs.hpp"
#include "kit/equal_training.hpp"
#include "kit/image_training.hpp"
#include "kit/parts.hpp"
#include "kit/stand_ins.hpp"
#include "kit/strides.hpp"
#include "kit/words.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/grade/session.hpp"

namespace shardlab::grade {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(Words, AreWhatAStudentCallsThings) {
  EXPECT_EQ(ListName({3, 0, 2}), "{3, 0, 2}");
  EXPECT_EQ(ShapeName({5, 3}), "[5, 3]");
  EXPECT_EQ(ShapeName({}), "[]");
  EXPECT_EQ(DtypeName(at::kLong), "int64");
  EXPECT_EQ(DtypeName(at::kHalf), "float16");
  EXPECT_EQ(Count(1, "row"), "1 row");
  EXPECT_EQ(Count(0, "row"), "0 rows");
}

TEST(Parts, SumsAndRows) {
  EXPECT_EQ(Total({1, 2, 3}), 6);
  const at::Tensor whole = at::arange(10).view({5, 2});
  EXPECT_TRUE(RowsOf(whole, {2, 0, 3}, 1).equal(whole.narrow(0, 2, 0)));
  EXPECT_TRUE(RowsOf(whole, {2, 0, 3}, 2).equal(whole.narrow(0, 2, 3)));
  EXPECT_TRUE(at::cat(AllRowsOf(whole, {2, 0, 3})).equal(whole));
  EXPECT_TRUE(SumOf({whole, whole, whole}).equal(whole * 3));
  EXPECT_EQ(SumOf({whole.to(at::kByte)}).scalar_type(), at::kByte);
}

TEST(Strides, HoldTheSameValuesOtherwise) {
  const at::Tensor x = at::arange(24, at::kFloat).view({2, 3, 4});
  for (const at::Tensor& other : {Strided(x), Apart(x), Transposed(x)}) {
    EXPECT_TRUE(other.equal(x));
    EXPECT_FALSE(other.is_contiguous());
  }
  EXPECT_NO_THROW(Strided(x).view({-1}));
  EXPECT_ANY_THROW(Apart(x).view({-1}));
  EXPECT_TRUE(Transposed(x).is_non_overlapping_and_dense());
  EXPECT_TRUE(Apart(at::full({}, 3.0)).equal(at::full({}, 3.0)));
}

TEST(EqualTraining, HasOneTolerance) {
  EXPECT_EQ(CurveTolerance({0.5, 4, -2}), (std::vector<double>{1e-10, 1e-10 * 2 * 4, 1e-10 * 3 * 2}));
  EXPECT_DOUBLE_EQ(ScaleOf({{"a", at::tensor({3.0, 0.0})}, {"b", at::tensor({4.0})}}), 5 / std::sqrt(2.0));
  EXPECT_EQ(ScaleOf({}), 0);
}

TEST(ImageTraining, TravelsAndDealsOutBatchesInPasses) {
  ImageTraining plan;
  plan.model = "cnn";
  plan.model_options.conv_channels = {2, 3};
  plan.train_options.steps = 9;
  plan.train_options.recipe.optimizer = OptimizerKind::kAdam;
  plan.train_options.recipe.weight_decay = 0.25;
  plan.batch = 4;
  const ImageTraining same = ImageTraining::FromJson(plan.ToJson());
  EXPECT_EQ(same.ToJson(), plan.ToJson());
  EXPECT_EQ(same.model_options.dtype, at::kDouble);
  const at::Tensor pixels = at::full({10, 3, 2, 2}, 64, at::kByte), labels = at::arange(10);
  EXPECT_TRUE(plan.BatchOf(2, pixels, labels).labels.equal(at::tensor({8, 9})));  // the last of a pass is smaller
  EXPECT_TRUE(plan.BatchOf(3, pixels, labels).labels.equal(at::arange(4)));
  EXPECT_TRUE(plan.BatchOf(0, pixels, labels).images.equal(at::full({4, 3, 2, 2}, -1, at::kDouble)));
}

class KitSession : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    SessionOptions options;
    options.module = "kit";
    options.programs = {{SHARDLAB_TEST_HOST, SHARDLAB_TEST_REFEREE}};
    options.seed = 5;
    for (const CaseResult& result : RunGradeSession(options).results) results_[result.id] = result;
  }
  static std::string Said(const std::string& id) {
    EXPECT_EQ(results_.at(id).status, Status::kFailed) << id;
    return results_.at(id).message;
  }
  static void ExpectPassed(const std::string& id) {
    EXPECT_EQ(results_.at(id).status, Status::kPassed) << results_.at(id).message;
  }

 private:
  static inline std::map<std::string, CaseResult> results_;
};

TEST_F(KitSession, CallsThatAreRightPass) {
  ExpectPassed("right/ranks=2");
  ExpectPassed("on_the_root/ranks=2");
  ExpectPassed("strided/ranks=2");
}

TEST_F(KitSession, CallsAreMadeInGroups) { ExpectPassed("in_groups/ranks=3"); }

TEST_F(KitSession, CallsThatMustFail) {
  ExpectPassed("that_fail/ranks=1");
  EXPECT_THAT(Said("that_hide_it/ranks=1"),
              HasSubstr("hidden returned on rank 2 of 3 although what it waited for failed"));
  EXPECT_THAT(Said("that_say_another/ranks=1"), HasSubstr("other threw something else than CommError on rank 0 of 3"));
}

TEST_F(KitSession, CostsAreRecognisedByAllOfThem) {
  EXPECT_THAT(Said("are_told_apart/ranks=1"), AllOf(HasSubstr("rounds: log2 T: 2 rounds; expected exactly 1"),
                                                    HasSubstr("this is what you get when they take turns")));
}

TEST(Costs, OfProgramsThatAreThoughtOf) {
  // 0 -> 1 and 0 -> 2 in one round: two steps, as 0 sends one at a time. Then 1 -> 3.
  const std::vector<PlannedMessage> program = {{0, 1, 8}, {0, 2, 8}, {1, 3, 16, 2}};
  EXPECT_EQ(RoundsOf(program), 2);
  EXPECT_EQ(MessagesOf(program), 3);
  EXPECT_EQ(BytesOf(program), 32);
  EXPECT_EQ(StepsOf(program), 2);
  EXPECT_EQ(StepsOf({{0, 1, 8}, {1, 2, 8}, {2, 3, 8}}), 3);
  EXPECT_EQ(StepsOf({}), 0);
}

TEST(StandIns, WhatIsLentIsOfUseWhileItIsHeld) {
  auto lent = Lent(MakeFailing(0, 1));
  Communicator* const kept = lent.get();
  EXPECT_THROW(kept->Barrier(), CommError);
  auto share = lent;
  lent.reset();
  EXPECT_THROW(kept->Barrier(), CommError);
  share.reset();
  EXPECT_THROW(kept->Barrier(), ContractError);
}

TEST_F(KitSession, CallsSayWhatIsWrongBesidesTheValues) {
  EXPECT_THAT(Said("one_for_all_calls/ranks=1"), HasSubstr("changed when the function was called again"));
  EXPECT_THAT(Said("turns_the_input/ranks=1"), HasSubstr("the caller's input has another shape, other strides"));
  EXPECT_THAT(Said("on_another/ranks=2"), AllOf(HasSubstr("with the numbers: rank 1 returns what the root should"),
                                                HasSubstr("when the root is ignored")));
  EXPECT_THAT(Said("in_place/ranks=1"), HasSubstr("the input after the call (it must be left as it is)"));
  EXPECT_THAT(Said("in_place/ranks=1"), HasSubstr("the result is written into the input"));
  EXPECT_THAT(Said("alias/ranks=1"), HasSubstr("rank 0, with an alias: the result shares memory with the input"));
  EXPECT_THAT(Said("transposed/ranks=1"), HasSubstr("rank 0, with the numbers: the result is not contiguous"));
  EXPECT_THAT(Said("throws/ranks=1"), HasSubstr("index 7 (with the numbers)"));
}

TEST_F(KitSession, TrafficIsThatBetweenTheMarks) {
  ExpectPassed("between_marks/ranks=2");
  EXPECT_THAT(Said("another_size/ranks=2"), HasSubstr("talking on rank 0 of 2: the contract has"));
  EXPECT_THAT(Said("another_size/ranks=2"), HasSubstr("of 4 elements, and there was"));
  EXPECT_THAT(Said("another_kind/ranks=2"), HasSubstr("talking on rank 0"));
}

TEST_F(KitSession, ImagesFollowFromTheSeed) { ExpectPassed("of_the_seed/ranks=1"); }

}  // namespace
}  // namespace shardlab::grade
