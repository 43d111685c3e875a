// Recipes and the norm of micro-batches (shardlab/layers).

#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "../texts.hpp"
#include "shardlab/layers/batch_norm.hpp"
#include "shardlab/layers/optimizer_state.hpp"
#include "shardlab/layers/recipe.hpp"

namespace shardlab {
namespace {

TEST(Recipes, RefuseNumbersOutOfTheirRange) {
  const auto refusal = [](const Recipe& recipe) { return MessageOf([&] { RequireRecipe(recipe); }); };
  Recipe recipe;
  EXPECT_EQ(refusal(recipe), "nothing was thrown");
  for (double Recipe::*number :
       {&Recipe::learning_rate, &Recipe::momentum, &Recipe::weight_decay, &Recipe::clip_norm}) {
    for (const double bad : {-1.0, std::numeric_limits<double>::quiet_NaN()}) {
      Recipe wrong = recipe;
      wrong.*number = bad;
      EXPECT_NE(refusal(wrong), "nothing was thrown") << bad;
      EXPECT_NE(MessageOf([&] { MakeOptimizer(wrong, {at::ones({1})}); }), "nothing was thrown");
    }
  }
  recipe.learning_rate = 0;
  EXPECT_EQ(refusal(recipe), "the learning rate is above 0, not 0");
}

TEST(Recipes, ScaleTheRateOfOneStepAlone) {
  Recipe recipe;
  recipe.learning_rate = 0.5;
  recipe.momentum = 0;
  at::Tensor weight = at::zeros({1}, at::kDouble).requires_grad_(true);
  const auto optimizer = MakeOptimizer(recipe, {weight});
  weight.mutable_grad() = at::ones({1}, at::kDouble);
  StepScaled(*optimizer, 0.5);
  EXPECT_EQ(weight.item<double>(), -0.25);
  optimizer->step();
  EXPECT_EQ(weight.item<double>(), -0.75) << "the second step has the recipe's own rate";
}

TEST(Recipes, FindTheStateOfAParameter) {
  at::Tensor weight = at::zeros({1}).requires_grad_(true), other = at::zeros({1}).requires_grad_(true);
  const auto optimizer = MakeOptimizer({}, {weight});
  weight.mutable_grad() = at::ones({1});
  optimizer->step();
  EXPECT_EQ(optimizer->state().count(StateKeyOf(weight)), 1u);
  EXPECT_EQ(optimizer->state().count(StateKeyOf(other)), 0u);
}

struct Recorder : BatchStatistics {
  void Track(MicroBatchNorm& norm, const at::Tensor& x, const MicroBatch&) override {
    ++times;
    channels = norm.weight.size(0);
    samples = x.size(0);
  }
  int times = 0;
  int64_t channels = 0, samples = 0;
};

TEST(MicroBatchNorm, IsLibTorchsWhereNobodyElseKeepsStatistics) {
  torch::manual_seed(1);
  torch::nn::BatchNorm2d reference(3);
  MicroBatchNorm norm(3);
  for (const bool training : {true, true, false}) {
    const at::Tensor x = at::randn({4, 3, 2, 2});
    reference->train(training);
    norm.train(training);
    EXPECT_TRUE(at::allclose(norm.forward(x, {}), reference->forward(x)));
  }
  EXPECT_TRUE(at::allclose(norm.running_mean, reference->running_mean));
  EXPECT_TRUE(at::allclose(norm.running_var, reference->running_var));
  EXPECT_EQ(norm.num_batches_tracked.item<int64_t>(), 2);
}

TEST(MicroBatchNorm, HandsWhatItSeesToWhoKeepsStatistics) {
  Recorder recorder;
  MicroBatch at;
  at.statistics = &recorder;
  MicroBatchNorm norm(3);
  const at::Tensor x = at::randn({4, 3, 2, 2});
  norm.forward(x, at);
  EXPECT_EQ(recorder.times, 1);
  EXPECT_EQ(recorder.channels, 3);
  EXPECT_EQ(recorder.samples, 4);
  EXPECT_TRUE(at::equal(norm.running_mean, at::zeros({3})));
  EXPECT_EQ(norm.num_batches_tracked.item<int64_t>(), 0);

  at.recomputed = true;
  norm.forward(x, at);
  norm.eval();
  norm.forward(x, MicroBatch{});
  EXPECT_EQ(recorder.times, 1) << "neither a forward that is recomputed nor one in evaluation counts";
}

TEST(MicroBatchNorm, MayHaveNoChannel) {
  MicroBatchNorm norm(0);
  const at::Tensor y = norm.forward(at::zeros({4, 0, 2, 2}), {});
  EXPECT_EQ(y.sizes(), (at::IntArrayRef{4, 0, 2, 2}));
  EXPECT_TRUE(y.requires_grad()) << "its rank takes part in backward all the same";
  EXPECT_EQ(norm.num_batches_tracked.item<int64_t>(), 1);
}

}  // namespace
}  // namespace shardlab
