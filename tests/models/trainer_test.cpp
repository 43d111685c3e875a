// The reference against rules that are written out by hand here, on a model of two numbers: y = w1 * (w0 * x).

#include <cmath>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "../texts.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/layers/batch_norm.hpp"
#include "shardlab/models/sequences.hpp"
#include "shardlab/models/trainer.hpp"

namespace shardlab {
namespace {

constexpr double kRate = 0.1;

LayerSpec Factor(const std::string& name, double value) {
  return SimpleLayer(
      name,
      [=] {
        torch::nn::Linear linear(torch::nn::LinearOptions(1, 1).bias(false));
        linear->to(at::kDouble);
        linear->weight.set_data(at::full({1, 1}, value, at::kDouble));
        return linear;
      },
      [](auto& linear, const at::Tensor& x) { return linear->forward(x); });
}

LayerSequence TwoFactors() { return {Factor("w0", 0.5), Factor("w1", -0.4)}; }

// x = 1, 2, 4 and the targets 1, 0, -1, all plus a quarter of the step.
Batch Samples(int64_t step) {
  const at::Tensor x = at::tensor({1.0, 2.0, 4.0}, at::kDouble) + 0.25 * static_cast<double>(step);
  return {x.view({3, 1}), at::tensor({1.0, 0.0, -1.0}, at::kDouble).view({3, 1})};
}

TrainOptions SquaresWithSgd(int64_t steps) {
  TrainOptions options;
  options.steps = steps;
  options.recipe.learning_rate = kRate;
  options.recipe.momentum = 0;
  options.mean_loss = [](const at::Tensor& y, const at::Tensor& targets) { return (y - targets).square().mean(); };
  return options;
}

struct Derivatives {
  double loss = 0, d0 = 0, d1 = 0;
};

// The loss of samples [begin, end), mean over them, and its derivatives: (w1 w0 x - target)^2.
Derivatives By(double w0, double w1, int64_t step, int begin = 0, int end = 3) {
  const double targets[] = {1, 0, -1}, xs[] = {1, 2, 4};
  Derivatives sum;
  for (int i = begin; i < end; ++i) {
    const double x = xs[i] + 0.25 * static_cast<double>(step), error = w1 * w0 * x - targets[i];
    sum.loss += error * error / (end - begin);
    sum.d0 += 2 * error * w1 * x / (end - begin);
    sum.d1 += 2 * error * w0 * x / (end - begin);
  }
  return sum;
}

void ExpectWeights(const TrainResult& result, double w0, double w1) {
  EXPECT_NEAR(result.parameters.at(0).second.item<double>(), w0, 1e-13);
  EXPECT_NEAR(result.parameters.at(1).second.item<double>(), w1, 1e-13);
}

TEST(Reference, DelaysEachParameterAsItsVersionSays) {
  // PipeDream on two stages: stage 0 is one update behind, stage 1 none.
  double w0[6] = {0.5}, w1[6] = {-0.4};
  std::vector<double> losses;
  for (int t = 0; t < 5; ++t) {
    const Derivatives f = By(w0[std::max(t - 1, 0)], w1[t], t);
    losses.push_back(f.loss);
    w0[t + 1] = w0[t] - kRate * f.d0;
    w1[t + 1] = w1[t] - kRate * f.d1;
  }
  const LayerSequence sequence = TwoFactors();
  SequenceClassifier model(sequence);
  TrainOptions options = SquaresWithSgd(5);
  options.version = [&](const std::string& parameter, int64_t t) {
    return StageOf(sequence, {1, 1}, parameter) == 0 ? std::max<int64_t>(t - 1, 0) : t;
  };
  options.on_step = [&](int64_t step, double) {
    EXPECT_NEAR(model.parameters()[0].item<double>(), w0[step + 1], 1e-13) << "the model holds older weights";
  };
  const TrainResult result = Train(model, Samples, options);
  for (size_t t = 0; t < 5; ++t) EXPECT_NEAR(result.losses[t], losses[t], 1e-13);
  ExpectWeights(result, w0[5], w1[5]);
}

TEST(Reference, RefusesAVersionThatIsNotThere) {
  const auto refused = [](const std::function<int64_t(int64_t)>& version) {
    SequenceClassifier model(TwoFactors());
    TrainOptions options = SquaresWithSgd(4);
    options.version = [&](const std::string&, int64_t t) { return version(t); };
    return MessageOf([&] { Train(model, Samples, options); });
  };
  EXPECT_EQ(refused([](int64_t t) { return t + 1; }),
            "update 0 computes `w0.weight` on version 1, which is not made yet");
  EXPECT_EQ(refused([](int64_t t) { return t == 3 ? 0 : t; }),
            "update 3 computes `w0.weight` on version 0, which is dropped already");
}

TEST(Reference, EachPartMayComputeOnAVersionOfItsOwn) {
  SequenceClassifier model(TwoFactors());
  TrainOptions options = SquaresWithSgd(2);
  options.slices = 2;  // two samples and one
  options.mistakes.part_version = [](const std::string&, int64_t t, int64_t part) {
    return part == 0 ? std::max<int64_t>(t - 1, 0) : t;
  };
  const Derivatives first = By(0.5, -0.4, 0);
  const double w0 = 0.5 - kRate * first.d0, w1 = -0.4 - kRate * first.d1;
  const Derivatives behind = By(0.5, -0.4, 1, 0, 2), newest = By(w0, w1, 1, 2, 3);
  ExpectWeights(Train(model, Samples, options), w0 - kRate * (2 * behind.d0 + newest.d0) / 3,
                w1 - kRate * (2 * behind.d1 + newest.d1) / 3);
}

TEST(Reference, CountsFromTheFirstStep) {
  SequenceClassifier model(TwoFactors());
  TrainOptions options = SquaresWithSgd(2);
  options.first_step = 3;
  options.recipe.rate_factor = [](int64_t step) { return step == 3 ? 1.0 : 0.0; };
  std::vector<int64_t> steps;
  options.on_step = [&](int64_t step, double) { steps.push_back(step); };
  const Derivatives f = By(0.5, -0.4, 3);
  ExpectWeights(Train(model, Samples, options), 0.5 - kRate * f.d0, -0.4 - kRate * f.d1);
  EXPECT_EQ(steps, (std::vector<int64_t>{3, 4}));
}

// Two parts, of two samples and of one.
TEST(Reference, MakesTheMistakesThatItIsAskedFor) {
  const auto train = [](int64_t steps, const std::function<void(TrainMistakes&)>& make) {
    SequenceClassifier model(TwoFactors());
    TrainOptions options = SquaresWithSgd(steps);
    options.slices = 2;
    make(options.mistakes);
    return Train(model, Samples, options);
  };
  const Derivatives a = By(0.5, -0.4, 0, 0, 2), b = By(0.5, -0.4, 0, 2, 3), all = By(0.5, -0.4, 0);
  ExpectWeights(train(1, [](auto&) {}), 0.5 - kRate * all.d0, -0.4 - kRate * all.d1);
  ExpectWeights(train(1, [](auto& mistakes) { mistakes.equal_parts = true; }), 0.5 - kRate * (a.d0 + b.d0) / 2,
                -0.4 - kRate * (a.d1 + b.d1) / 2);
  ExpectWeights(train(1, [](auto& mistakes) { mistakes.only_last_part = true; }), 0.5 - kRate * b.d0 / 3,
                -0.4 - kRate * b.d1 / 3);
  const double w0 = 0.5 - kRate * all.d0, w1 = -0.4 - kRate * all.d1;
  const Derivatives then = By(w0, w1, 1);
  ExpectWeights(train(2, [](auto& mistakes) { mistakes.keeps_gradients = true; }), w0 - kRate * (all.d0 + then.d0),
                w1 - kRate * (all.d1 + then.d1));
}

TEST(Reference, TakesStatisticsOfWholeBatches) {
  // How far they are from those of images [first, 5).
  const auto statistics = [](bool whole, int64_t first, const std::set<int>& counted) {
    ModelOptions options;
    options.side = 4;
    options.dtype = at::kDouble;
    SequenceClassifier model(MakeSequence("cnn-bn", options));
    TrainOptions training;
    training.steps = 2;
    training.slices = 2;
    training.whole_batch_statistics = whole;
    training.counted_parts = counted;
    training.recipe.learning_rate = 1e-12;  // so that both batches pass through the same weights
    const at::Tensor images = at::arange(5 * 48, at::kDouble).view({5, 3, 4, 4}).sin();
    Train(
        model,
        [&](int64_t) {
          return Batch{images, at::zeros({5}, at::kLong)};
        },
        training);
    const at::Tensor seen = model.layers()[0]->Forward({images.slice(0, first)}, {}).at(0).transpose(0, 1).flatten(1);
    const auto buffers = model.named_buffers();
    EXPECT_EQ(buffers["bn1.num_batches_tracked"].item<int64_t>(), whole ? 2 : 4);
    return std::pair((buffers["bn1.running_mean"] - (1 - 0.81) * seen.mean(1)).abs().max().item<double>(),
                     (buffers["bn1.running_var"] - 0.81 - (1 - 0.81) * seen.var(1)).abs().max().item<double>());
  };
  EXPECT_LT(statistics(true, 0, {}).first, 1e-9);
  EXPECT_LT(statistics(true, 0, {}).second, 1e-9);
  EXPECT_LT(statistics(true, 3, {1}).first, 1e-9) << "of the second part, images 3 and 4";
  EXPECT_LT(statistics(true, 3, {1}).second, 1e-9);
  EXPECT_GT(statistics(false, 0, {}).second, 1e-6);
}

}  // namespace
}  // namespace shardlab
