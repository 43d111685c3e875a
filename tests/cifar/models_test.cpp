#include <cmath>
#include <map>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "scratch.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/models/classifiers.hpp"
#include "shardlab/models/seeded.hpp"
#include "shardlab/models/trainer.hpp"

namespace shardlab {
namespace {

ModelOptions Small(at::ScalarType dtype = at::kDouble) {
  ModelOptions options;
  options.side = 8;
  options.channels = 2;
  options.classes = 3;
  options.hidden = {7, 5};
  options.conv_channels = {3, 4};
  options.dense = 6;
  options.dtype = dtype;
  return options;
}

Batch BatchOf(int64_t n, int64_t step, at::ScalarType dtype = at::kDouble) {
  Batch batch;
  batch.images = SeededTensor({n, 2, 8, 8}, 5, "images " + std::to_string(step), 1.0, dtype);
  batch.labels = at::arange(n, at::kLong).add(step).remainder(3);
  return batch;
}

std::map<std::string, at::Tensor> ByName(const std::vector<std::pair<std::string, at::Tensor>>& tensors) {
  return {tensors.begin(), tensors.end()};
}

double Difference(const std::map<std::string, at::Tensor>& a, const std::map<std::string, at::Tensor>& b) {
  EXPECT_EQ(a.size(), b.size());
  double largest = 0;
  for (const auto& [name, tensor] : a) largest = std::max(largest, (tensor - b.at(name)).abs().max().item<double>());
  return largest;
}

TEST(SeededTensor, DependsOnSeedAndNameAlone) {
  const at::Tensor first = SeededTensor({4, 5}, 1, "fc1.weight");
  at::manual_seed(123);
  at::rand({100});
  EXPECT_TRUE(at::equal(first, SeededTensor({4, 5}, 1, "fc1.weight")));
  EXPECT_FALSE(at::equal(first, SeededTensor({4, 5}, 2, "fc1.weight")));
  EXPECT_FALSE(at::equal(first, SeededTensor({4, 5}, 1, "fc2.weight")));
  // The values, not the shape, are the function: a vector has the same ones.
  EXPECT_TRUE(at::equal(first.flatten(), SeededTensor({20}, 1, "fc1.weight")));
  EXPECT_TRUE(at::equal(first.to(at::kFloat), SeededTensor({4, 5}, 1, "fc1.weight", 1.0, at::kFloat)));
}

TEST(SeededTensor, IsUniformWithinItsBound) {
  const at::Tensor values = SeededTensor({100000}, 1, "x", 0.5);
  EXPECT_LT(values.abs().max().item<double>(), 0.5 + 1e-15);
  EXPECT_NEAR(values.mean().item<double>(), 0.0, 5 * 0.5 / std::sqrt(3e5));
  EXPECT_NEAR(values.pow(2).mean().item<double>(), 0.25 / 3, 1e-3);
}

TEST(SeededTensor, RefusesWhatItCannotMake) {
  EXPECT_THROW(SeededTensor({2, -1}, 1, "x"), ContractError);
  EXPECT_THROW(SeededTensor({2}, 1, "x", -1.0), ContractError);
  EXPECT_THROW(SeededTensor({2}, 1, "x", 1.0, at::kLong), ContractError);
  EXPECT_THROW(SeededLayerWeights({2}, 1, "x"), ContractError);
}

TEST(Models, AreDrawnFromTheirSeedByName) {
  const auto model = std::dynamic_pointer_cast<Mlp>(MakeModel("mlp", Small()));
  ASSERT_NE(model, nullptr);
  const SeededLayer expected = SeededLayerWeights({5, 7}, 1, "fc2");
  EXPECT_TRUE(at::equal(model->layers[1]->weight, expected.weight));
  EXPECT_TRUE(at::equal(model->layers[1]->bias, expected.bias));
  EXPECT_LE(expected.weight.abs().max().item<double>(), 1 / std::sqrt(7.0));
  EXPECT_GT(expected.weight.abs().max().item<double>(), 0.9 / std::sqrt(7.0));
}

TEST(Models, GiveLogitsInTheTypeAskedFor) {
  for (const std::string& name : ModelNames()) {
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
      const auto model = MakeModel(name, Small(dtype));
      const at::Tensor logits_BK = model->forward(BatchOf(4, 0, dtype).images);
      EXPECT_EQ(logits_BK.sizes(), (std::vector<int64_t>{4, 3})) << name;
      EXPECT_EQ(logits_BK.scalar_type(), dtype) << name;
      EXPECT_EQ(model->buffers().empty(), name != "cnn-bn") << name;
    }
  }
}

TEST(Models, RefuseSizesThatDoNotFit) {
  EXPECT_SAYS(MessageOf<UsageError>([] { MakeModel("cnnn"); }), "did you mean 'cnn'");
  ModelOptions options = Small();
  options.side = 6;
  EXPECT_SAYS(MessageOf<ContractError>([&] { MakeModel("cnn", options); }), "a side that 4 divides, not 6");
  options = Small();
  options.conv_channels = {3};
  EXPECT_SAYS(MessageOf<ContractError>([&] { MakeModel("cnn", options); }), "has 1 numbers");
  options = Small();
  options.classes = 0;
  EXPECT_SAYS(MessageOf<ContractError>([&] { MakeModel("linear", options); }), "classes of at least 1, not 0");
}

// The trainer against the rules written out by hand, on the smallest model.
TEST(Train, IsTheRuleOfSgdWithMomentum) {
  const auto model = MakeModel("linear", Small());
  at::Tensor w = SeededTensor({3, 128}, 1, "fc.weight", 1 / std::sqrt(128.0));
  at::Tensor b = SeededTensor({3}, 1, "fc.bias", 1 / std::sqrt(128.0));
  at::Tensor velocity_w = at::zeros_like(w), velocity_b = at::zeros_like(b);
  std::vector<double> losses;
  for (int64_t step = 0; step < 5; ++step) {
    const Batch batch = BatchOf(6, step);
    const at::Tensor x = batch.images.flatten(1);
    const at::Tensor p = at::softmax(at::linear(x, w, b), 1);
    losses.push_back(-p.gather(1, batch.labels.unsqueeze(1)).log().mean().item<double>());
    const at::Tensor dlogits = (p - at::one_hot(batch.labels, 3)) / 6;
    velocity_w = 0.8 * velocity_w + dlogits.t().mm(x) + 0.01 * w;
    velocity_b = 0.8 * velocity_b + dlogits.sum(0) + 0.01 * b;
    const double rate = 0.3 / static_cast<double>(step + 1);
    w = w - rate * velocity_w;
    b = b - rate * velocity_b;
  }
  TrainOptions options;
  options.steps = 5;
  options.recipe.learning_rate = 0.3;
  options.recipe.momentum = 0.8;
  options.recipe.weight_decay = 0.01;
  options.recipe.rate_factor = [](int64_t step) { return 1.0 / static_cast<double>(step + 1); };
  const TrainResult result = Train(
      *model, [](int64_t step) { return BatchOf(6, step); }, options);
  ASSERT_EQ(result.losses.size(), 5u);
  for (size_t i = 0; i < 5; ++i) EXPECT_NEAR(result.losses[i], losses[i], 1e-12);
  EXPECT_LT(Difference(ByName(result.parameters), {{"fc.weight", w}, {"fc.bias", b}}), 1e-12);
}

TEST(Train, AdamsFirstStepIsTheLearningRateInEveryElement) {
  const auto model = MakeModel("linear", Small());
  const at::Tensor before = model->parameters()[0].detach().clone();
  TrainOptions options;
  options.steps = 1;
  options.recipe.optimizer = OptimizerKind::kAdam;
  options.recipe.learning_rate = 0.01;
  const TrainResult result = Train(
      *model, [](int64_t step) { return BatchOf(6, step); }, options);
  const at::Tensor step = (ByName(result.parameters).at("fc.weight") - before).abs();
  EXPECT_NEAR(step.max().item<double>(), 0.01, 1e-6);
  EXPECT_NEAR(step.median().item<double>(), 0.01, 1e-5);
}

TEST(Train, ClipsTheNormOfAllGradientsTogether) {
  const auto model = MakeModel("mlp", Small());
  std::vector<at::Tensor> before;
  for (const at::Tensor& p : model->parameters()) before.push_back(p.detach().clone());
  TrainOptions options;
  options.steps = 1;
  options.recipe.learning_rate = 1.0;
  options.recipe.clip_norm = 0.01;
  Train(
      *model, [](int64_t step) { return BatchOf(6, step); }, options);
  double squares = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    squares += (model->parameters()[i].detach() - before[i]).pow(2).sum().item<double>();
  }
  EXPECT_NEAR(std::sqrt(squares), 0.01, 1e-5);
}

TrainResult TrainSlices(const std::string& name, int64_t slices) {
  const auto model = MakeModel(name, Small());
  TrainOptions options;
  options.steps = 4;
  options.slices = slices;
  return Train(
      *model, [](int64_t step) { return BatchOf(step == 3 ? 2 : 7, step); }, options);
}

// 7 images in 3 parts are 3 + 2 + 2, and the last batch of 2 has fewer images than parts.
TEST(Train, InUnevenSlicesIsTheWholeBatchUnlessBatchNormLooksAcrossIt) {
  const TrainResult whole = TrainSlices("cnn", 1), parts = TrainSlices("cnn", 3);
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(whole.losses[i], parts.losses[i], 1e-12);
  EXPECT_LT(Difference(ByName(whole.parameters), ByName(parts.parameters)), 1e-12);

  const TrainResult whole_bn = TrainSlices("cnn-bn", 1), parts_bn = TrainSlices("cnn-bn", 3);
  EXPECT_GT(std::abs(whole_bn.losses[0] - parts_bn.losses[0]), 1e-3);
  EXPECT_EQ(ByName(whole_bn.buffers).at("bn1.num_batches_tracked").item<int64_t>(), 4);
}

TEST(Train, TwiceGivesTheSameBits) {
  const TrainResult first = TrainSlices("cnn-bn", 2), second = TrainSlices("cnn-bn", 2);
  EXPECT_EQ(first.losses, second.losses);
  EXPECT_EQ(Difference(ByName(first.parameters), ByName(second.parameters)), 0.0);
}

TEST(Train, ReportsEveryStep) {
  const auto model = MakeModel("linear", Small());
  std::vector<double> seen;
  TrainOptions options;
  options.steps = 3;
  options.on_step = [&](int64_t step, double loss) {
    EXPECT_EQ(step, static_cast<int64_t>(seen.size()));
    seen.push_back(loss);
  };
  EXPECT_EQ(Train(
                *model, [](int64_t step) { return BatchOf(6, step); }, options)
                .losses,
            seen);
}

TEST(Train, RefusesWhatCannotBe) {
  const auto model = MakeModel("linear", Small());
  const auto train = [&](const TrainOptions& options, int64_t images, int64_t labels) {
    Train(
        *model,
        [&](int64_t step) {
          Batch batch = BatchOf(std::max(images, labels), step);
          return Batch{batch.images.slice(0, 0, images), batch.labels.slice(0, 0, labels)};
        },
        options);
  };
  TrainOptions options;
  EXPECT_SAYS(MessageOf<ContractError>([&] { train(options, 0, 0); }), "at least 1 image");
  EXPECT_SAYS(MessageOf<ContractError>([&] { train(options, 4, 3); }), "a batch of 4 images needs as many labels");
  options.recipe.learning_rate = 0;
  EXPECT_SAYS(MessageOf<ContractError>([&] { train(options, 4, 4); }), "learning rate is above 0, not 0");
  options = {};
  options.slices = 0;
  EXPECT_SAYS(MessageOf<ContractError>([&] { train(options, 4, 4); }), "1 slice or more, not 0");
}

TEST(Accuracy, CountsTheLargestLogitAndRestoresTheMode) {
  const auto model = std::dynamic_pointer_cast<LinearClassifier>(MakeModel("linear", Small()));
  {
    const at::NoGradGuard no_grad;
    model->fc->weight.zero_();
    model->fc->bias.copy_(at::tensor({0.0, 1.0, 0.5}, at::kDouble));  // always guesses 1
  }
  Batch test = BatchOf(7, 0);
  test.labels = at::tensor({1, 0, 1, 2, 1, 1, 0}, at::kLong);
  model->train();
  EXPECT_DOUBLE_EQ(Accuracy(*model, test, 3), 4.0 / 7);
  EXPECT_DOUBLE_EQ(Accuracy(*model, test), 4.0 / 7);
  EXPECT_TRUE(model->is_training());
  model->eval();
  Accuracy(*model, test);
  EXPECT_FALSE(model->is_training());
}

}  // namespace
}  // namespace shardlab
