#include "toy_model.hpp"

#include <algorithm>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "shardlab/base/counter_random.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/models/seeded.hpp"
#include "shardlab/models/sequences.hpp"
#include "shardlab/models/trainer.hpp"

namespace shardlab::test {

namespace {

LayerSpec Dense(const std::string& name, int64_t in, int64_t out, bool tanh) {
  return SimpleLayer(
      name,
      [=] {
        torch::nn::Linear linear(in, out);
        linear->to(at::kDouble);
        SeedParameters(*linear, HashName(name));
        return linear;
      },
      [=](auto& linear, const at::Tensor& x) {
        const at::Tensor y = linear->forward(x.flatten(1));
        return tanh ? at::tanh(y) : y;
      });
}

// Without a bias: in front of a norm its true gradient is 0, and Adam makes a step of the rounding errors.
LayerSpec Convolution(const std::string& name) {
  return SimpleLayer(
      name,
      [=] {
        torch::nn::Conv2d conv(torch::nn::Conv2dOptions(1, 2, 3).padding(1).bias(false));
        conv->to(at::kDouble);
        SeedParameters(*conv, HashName(name));
        return conv;
      },
      [](auto& conv, const at::Tensor& x) { return conv->forward(x); });
}

class NormLayer final : public Layer {
 public:
  explicit NormLayer(int64_t channels) : norm_(std::make_shared<MicroBatchNorm>(channels, 1e-5, 0.1, at::kDouble)) {
    weight_ = register_parameter("weight", norm_->weight);
    register_parameter("bias", norm_->bias);
    register_buffer("running_mean", norm_->running_mean);
    register_buffer("running_var", norm_->running_var);
    register_buffer("num_batches_tracked", norm_->num_batches_tracked);
  }
  Tensors Forward(const Tensors& x, const MicroBatch& at) override {
    norm_->train(is_training());
    return {at::relu(norm_->forward(x.at(0), at))};
  }

 private:
  std::shared_ptr<MicroBatchNorm> norm_;
  at::Tensor weight_;
};

class DropLayer final : public Layer {
 public:
  Tensors Forward(const Tensors& x, const MicroBatch& at) override {
    return {is_training() ? MicroBatchDropout(x.at(0), 0.3, 5, 1, at) : x.at(0)};
  }
};

}  // namespace

LayerSequence ToyModel() {
  return {Convolution("conv1"),      {"bn1", [] { return std::make_shared<NormLayer>(2); }, {}, {}},
          Dense("fc1", 32, 6, true), {"drop1", [] { return std::make_shared<DropLayer>(); }, {}, {}},
          Dense("fc2", 6, 6, true),  {"bn2", [] { return std::make_shared<NormLayer>(6); }, {}, {}},
          Dense("fc3", 6, 6, true),  Dense("fc4", 6, 6, true),
          Dense("fc5", 6, 3, false)};
}

MiniBatch ToyBatch(int64_t update, int64_t samples) {
  const at::Tensor images =
      SeededTensor({samples, 1, 4, 4}, static_cast<uint64_t>(1000 + update), "images", 2.0, at::kDouble);
  const at::Tensor labels = at::empty({samples}, at::kLong);
  CounterRandom random({static_cast<uint64_t>(update), 77});
  for (int64_t i = 0; i < samples; ++i) labels[i] = static_cast<int64_t>(random.Below(3));
  return {samples, {images}, labels};
}

LossFunction CrossEntropy() {
  return
      [](const Tensors& outputs, const at::Tensor& targets) { return at::cross_entropy_loss(outputs.at(0), targets); };
}

PipelineSetup ToySetup(const Layout& layout) {
  PipelineSetup setup{ToyModel(), {}, layout};
  for (const int64_t size : SplitSizes(static_cast<int64_t>(setup.model.size()), layout.stages())) {
    setup.balance.push_back(static_cast<int>(size));
  }
  setup.loss = CrossEntropy();
  setup.optimizer = MakeSgd(0.1);
  return setup;
}

Reference Steps(int updates, int64_t samples) {
  Reference reference;
  reference.updates = updates;
  reference.samples = samples;
  return reference;
}

OptimizerFactory MakeSgd(double rate, double momentum) {
  return [=](int, const std::vector<at::Tensor>& parameters) {
    Recipe recipe;
    recipe.learning_rate = rate;
    recipe.momentum = momentum;
    return MakeOptimizer(recipe, parameters);
  };
}

OptimizerFactory MakeAdam(double rate) {
  return [=](int, const std::vector<at::Tensor>& parameters) {
    Recipe recipe;
    recipe.optimizer = OptimizerKind::kAdam;
    recipe.learning_rate = rate;
    return MakeOptimizer(recipe, parameters);
  };
}

namespace {

// How many of n things part i of p has.
int64_t PartOf(int64_t n, int64_t p, int64_t i) { return n / p + (i < n % p ? 1 : 0); }

}  // namespace

Trained TrainReference(const Reference& reference) {
  SequenceClassifier model(reference.model);
  TrainOptions options;
  options.steps = reference.updates;
  options.first_step = reference.first_update;
  options.optimizer = [&](const Tensors& parameters) { return reference.optimizer(0, parameters); };
  options.recipe.clip_norm = reference.clip_norm;
  options.recipe.rate_factor = reference.learning_rate;
  options.whole_batch_statistics = reference.deferred;
  options.counted_parts = reference.counted_slices;
  // The slices of the first replica, those of the second, ...
  options.parts = [&](int64_t batch) {
    std::vector<int64_t> parts;
    for (int r = 0; r < reference.replicas; ++r) {
      const int64_t samples = PartOf(batch, reference.replicas, r);
      const int64_t count = std::min<int64_t>(reference.microbatches, samples);
      for (int64_t i = 0; i < count; ++i) parts.push_back(PartOf(samples, count, i));
    }
    return parts;
  };
  if (reference.version) {
    options.version = [&](const std::string& parameter, int64_t t) {
      return reference.version(StageOf(reference.model, reference.balance, parameter), static_cast<int>(t));
    };
  }
  const auto next = [&](int64_t update) {
    const MiniBatch batch = ToyBatch(update, reference.samples);
    return Batch{batch.inputs.at(0), batch.targets};
  };
  TrainResult result = Train(model, next, options);
  return {std::move(result.losses), std::move(result.parameters), std::move(result.buffers)};
}

void ExpectSameModule(const StageModule& module, const Trained& reference, const std::string& where, double tolerance) {
  const auto expect = [&](const auto& mine, const auto& all) {
    for (const auto& [name, value] : mine) {
      const auto found =
          std::find_if(all.begin(), all.end(), [&, n = name](const auto& item) { return item.first == n; });
      ASSERT_NE(found, all.end()) << where << ": " << name;
      const double scale = std::max(1.0, found->second.abs().max().template item<double>());
      const double error = (value - found->second).abs().max().template item<double>();
      EXPECT_LE(error, tolerance * scale) << where << ": " << name;
    }
  };
  expect(module.NamedParameters(), reference.parameters);
  expect(module.NamedBuffers(), reference.buffers);
}

}  // namespace shardlab::test
