#include "toy_model.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "shardlab/base/counter_random.hpp"
#include "shardlab/models/seeded.hpp"

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

OptimizerFactory MakeSgd(double rate, double momentum) {
  return [=](const std::vector<at::Tensor>& parameters) {
    Recipe recipe;
    recipe.learning_rate = rate;
    recipe.momentum = momentum;
    return MakeOptimizer(recipe, parameters);
  };
}

OptimizerFactory MakeAdam(double rate) {
  return [=](const std::vector<at::Tensor>& parameters) {
    Recipe recipe;
    recipe.optimizer = OptimizerKind::kAdam;
    recipe.learning_rate = rate;
    return MakeOptimizer(recipe, parameters);
  };
}

namespace {

// How many of n things part i of p has, and where it begins.
std::pair<int64_t, int64_t> PartOf(int64_t n, int64_t p, int64_t i) {
  return {i * (n / p) + std::min(i, n % p), n / p + (i < n % p ? 1 : 0)};
}

// The slices of an update as [begin, end): those of the first replica, those of the second, ...
std::vector<std::pair<int64_t, int64_t>> SlicesOf(const Reference& reference) {
  std::vector<std::pair<int64_t, int64_t>> slices;
  for (int r = 0; r < reference.replicas; ++r) {
    const auto [first, samples] = PartOf(reference.samples, reference.replicas, r);
    const int64_t count = std::min<int64_t>(reference.microbatches, samples);
    for (int64_t i = 0; i < count; ++i) {
      const auto [begin, size] = PartOf(samples, count, i);
      slices.emplace_back(first + begin, first + begin + size);
    }
  }
  return slices;
}

}  // namespace

Trained TrainReference(const Reference& reference) {
  // `newest` is what the optimizer works on, `worker` what gradients are computed with; history[v] are all parameters
  // of version v.
  const int layers = static_cast<int>(reference.model.size());
  StageModule newest(reference.model, 0, layers);
  StageModule worker(reference.model, 0, layers);
  const auto per_layer = newest.LayerParameters();
  std::vector<int> stage_of_layer;
  for (size_t s = 0; s < reference.balance.size(); ++s) {
    stage_of_layer.insert(stage_of_layer.end(), static_cast<size_t>(reference.balance[s]), static_cast<int>(s));
  }
  const auto optimizer = reference.optimizer(newest.parameters());
  std::vector<double> rates;
  for (auto& group : optimizer->param_groups()) rates.push_back(group.options().get_lr());

  std::vector<std::vector<Tensors>> history;
  const auto remember = [&] {
    std::vector<Tensors> copies;
    for (const Tensors& parameters : per_layer) {
      copies.emplace_back();
      for (const at::Tensor& p : parameters) copies.back().push_back(p.detach().clone());
    }
    history.push_back(std::move(copies));
  };
  remember();

  // Deferred: a forward over the whole mini-batch, layer by layer, would normalise by other statistics. What the pieces
  // fed to a norm is caught here, and the statistics of all of it are taken at once.
  class Whole final : public BatchStatistics {
   public:
    void Track(MicroBatchNorm& norm, const at::Tensor& x, const MicroBatch& at) override {
      Tensors& seen = seen_[&norm];
      seen.push_back(x);
      if (at.index + 1 < at.count) return;
      const at::Tensor all = at::cat(seen);
      seen.clear();
      at::batch_norm(all, {}, {}, norm.running_mean, norm.running_var, true, norm.momentum, norm.eps, false);
      norm.num_batches_tracked += 1;
    }

   private:
    std::map<const void*, Tensors> seen_;
  } whole;

  Trained result;
  for (int t = 0; t < reference.updates; ++t) {
    const MiniBatch batch = ToyBatch(reference.first_update + t, reference.samples);
    {
      const torch::NoGradGuard no_grad;
      const auto to = worker.LayerParameters();
      for (int layer = 0; layer < layers; ++layer) {
        const auto l = static_cast<size_t>(layer);
        const int version = reference.version ? reference.version(stage_of_layer.at(l), t) : t;
        for (size_t i = 0; i < to[l].size(); ++i) {
          at::Tensor p = to[l][i];
          p.copy_(history.at(static_cast<size_t>(version))[l][i]);
          p.mutable_grad() = at::Tensor();
        }
      }
    }
    double loss_of_update = 0;
    const auto slices = SlicesOf(reference);
    for (size_t i = 0; i < slices.size(); ++i) {
      MicroBatch at;
      at.step = reference.first_update + t;
      at.index = static_cast<int>(i);
      at.count = static_cast<int>(slices.size());
      at.batch = reference.samples;
      at.samples.begin = slices[i].first;
      at.samples.end = slices[i].second;
      if (reference.deferred) at.statistics = &whole;
      const Tensors outputs = worker.Forward({batch.inputs[0].slice(0, at.samples.begin, at.samples.end)}, at);
      const at::Tensor loss = at::cross_entropy_loss(
          outputs[0], batch.targets.slice(0, at.samples.begin, at.samples.end), {}, at::Reduction::Sum);
      const at::Tensor share = loss / static_cast<double>(reference.samples);
      share.backward();
      loss_of_update += share.item<double>();
    }
    result.losses.push_back(loss_of_update);

    const auto from = worker.parameters();
    const auto to = newest.parameters();
    for (size_t i = 0; i < to.size(); ++i) {
      at::Tensor parameter = to[i];
      parameter.mutable_grad() = from[i].grad().clone();
    }
    if (reference.clip_norm > 0) torch::nn::utils::clip_grad_norm_(newest.parameters(), reference.clip_norm);
    auto rate = rates.begin();
    for (auto& group : optimizer->param_groups()) {
      const double factor = reference.learning_rate ? reference.learning_rate(reference.first_update + t) : 1.0;
      group.options().set_lr(*rate++ * factor);
    }
    optimizer->step();
    remember();
  }
  for (const auto& [name, parameter] : newest.NamedParameters()) result.parameters.emplace_back(name, parameter);
  for (const auto& [name, buffer] : worker.NamedBuffers()) result.buffers.emplace_back(name, buffer);
  return result;
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
