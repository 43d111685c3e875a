#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <torch/torch.h>

#include "probe.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/grade/body.hpp"
#include "shardlab/measure/memory.hpp"
#include "shardlab/pipeline/deferred_statistics.hpp"
#include "shardlab/pipeline/micro_batches.hpp"
#include "shardlab/pipeline/recompute.hpp"
#include "shardlab/pipeline/skips.hpp"
#include "shardlab/pipeline/stage.hpp"
#include "shardlab/pipeline/weights.hpp"

// Bodies that call one piece of the pipeline for what its header says beside the result: what it refuses, keeps, shares
// and leaves alone.

namespace shardlab::grade {

namespace {

// 1: `call` throws ContractError; 0: it throws nothing; 2: something else.
double Refused(const std::function<void()>& call) {
  try {
    call();
  } catch (const ContractError&) {
    return 1;
  } catch (const NotImplemented&) {
    throw;
  } catch (const std::exception&) {
    return 2;
  }
  return 0;
}

// y = x * weight + frozen, of one number each, that notes where its input lies.
class Scale final : public Layer {
 public:
  explicit Scale(const void** seen = nullptr) : seen_(seen) {
    weight_ = register_parameter("weight", at::ones({1}, at::kDouble));
    frozen_ = register_parameter("frozen", at::ones({1}, at::kDouble), /*requires_grad=*/false);
  }
  Tensors Forward(const Tensors& x, const MicroBatch&) override {
    if (seen_ != nullptr) *seen_ = x.at(0).data_ptr();
    return {x.at(0) * weight_ + frozen_};
  }

 private:
  const void** seen_;
  at::Tensor weight_;
  at::Tensor frozen_;
};

class NoWeights final : public Layer {
 public:
  Tensors Forward(const Tensors& x, const MicroBatch&) override { return {x.at(0) * 2}; }
};

}  // namespace

// What MicroBatches and SamplesOf refuse, that views are views, and that a share keeps the loss that it was given.
SHARDLAB_BODY(promises_of_pieces) {
  double refused = 0;
  for (const auto& [samples, pieces] : std::vector<std::pair<int64_t, int>>{{0, 4}, {4, 0}, {-2, 1}}) {
    refused += Refused([&, samples = samples, pieces = pieces] { MicroBatches(samples, pieces); });
  }
  ctx.Number("refused sizes", refused);
  const auto pieces = MicroBatches(7, 3);
  ctx.Number("step", static_cast<double>(pieces.at(0).step));
  const at::Tensor a = at::arange(14, at::kDouble).view({7, 2}), b = at::arange(7, at::kLong);
  const Tensors views = SamplesOf({a, b}, pieces.at(1));
  ctx.Number("tensors", static_cast<double>(views.size()));
  const bool shared = views.size() == 2 && views[0].data_ptr() == a.narrow(0, 3, 2).data_ptr() &&
                      views[1].data_ptr() == b.narrow(0, 3, 2).data_ptr();
  ctx.Number("views", shared ? 1 : 0);
  ctx.Number("of none", static_cast<double>(SamplesOf({}, pieces.at(1)).size()));
  ctx.Number("refused samples", Refused([&] { SamplesOf({a, at::zeros({6})}, pieces.at(1)); }));
  int calls = 0;
  LossShare share;
  {
    const std::vector<double> factors(64, 3.0);  // gone with the function that has it, if nobody keeps a copy
    share = ShareOf([&calls, factors](const Tensors& y, const at::Tensor& targets) {
      ++calls;
      return (y.at(1) - targets).mean() * factors[63];
    });
  }
  const at::Tensor loss = share({a, at::full({2}, 5.0, at::kDouble)}, at::full({2}, 1.0, at::kDouble), pieces.at(1));
  ctx.Number("share", loss.item<double>());
  ctx.Number("calls", calls);
}

// What a stage refuses, keeps and drops; two stages and two sets of weights at once, all results kept to the end.
SHARDLAB_BODY(promises_of_a_stage) {
  const bool halves = ctx.Param<bool>("halves");
  const auto make = [&] { return halves ? MakeSplitStage() : MakeStage(); };
  const auto back = [&](Stage& stage, int number, const Tensors& gradients) {
    if (!halves) return stage.Backward(number, gradients);
    const Tensors dx = stage.BackwardInput(number, gradients);
    stage.BackwardWeight(number);
    return dx;
  };
  const auto pieces = MicroBatches(9, 3);
  const at::Tensor x = ctx.Input("x"), dy = ctx.Input("dy");
  const auto piece = [&](const at::Tensor& of, int i) {
    return SamplesOf({of}, pieces.at(static_cast<size_t>(i)))[0].clone();
  };
  // Two stages, the first one on two sets of weights in turn; numbers are the same in both.
  std::vector<std::unique_ptr<StageModule>> modules;
  for (const int seed : {1, 2}) modules.push_back(std::make_unique<StageModule>(ProbeModel(2, 4, seed), 0, 2));
  for (const auto& module : modules) module->train();
  const auto one = make(), other = make();
  std::vector<Tensors> ys, dxs, other_ys, other_dxs;
  for (int i = 0; i < 3; ++i) {
    const MicroBatch& at = pieces[static_cast<size_t>(i)];
    ys.push_back(one->Forward(i, at, {piece(x, i).requires_grad_()}, *modules[i % 2]));
    other_ys.push_back(other->Forward(i, at, {piece(x, i).mul_(2).requires_grad_()}, *modules[1]));
  }
  for (int i = 0; i < 3; ++i) {
    other_dxs.push_back(back(*other, i, {piece(dy, i)}));
    dxs.push_back(back(*one, i, {piece(dy, i)}));
  }
  for (int i = 0; i < 3; ++i) {
    const std::string number = std::to_string(i);
    ctx.Output("y" + number, ys[i].at(0));
    ctx.Output("dx" + number, dxs[i].at(0));
    ctx.Output("other y" + number, other_ys[i].at(0));
    ctx.Output("other dx" + number, other_dxs[i].at(0));
  }
  for (size_t k = 0; k < modules.size(); ++k) {
    for (const auto& [name, value] : modules[k]->NamedParameters()) {
      ctx.Output(std::to_string(k) + name, value.grad());
    }
  }
  ctx.Number("graphs after all backwards", static_cast<double>(Probes().live));

  // Refusals; numbers that are free again.
  const MicroBatch& at = pieces.at(0);
  const auto stage = make();
  stage->Forward(0, at, {piece(x, 0)}, *modules[0]);
  ctx.Number("refused number", Refused([&] { stage->Forward(0, at, {piece(x, 0)}, *modules[0]); }));
  ctx.Number("refused backward", Refused([&] { back(*stage, 7, {piece(dy, 0)}); }));
  stage->Forward(1, at, {piece(x, 0)}, *modules[0]);
  ctx.Number("refused gradients", Refused([&] { back(*stage, 1, {piece(dy, 0), piece(dy, 0)}); }));
  stage->Forget(1);
  stage->Forget(0);
  ctx.Number("live after forget", stage->Live());
  ctx.Number("graphs after forget", static_cast<double>(Probes().live));
  ctx.Number("number taken", Refused([&] { stage->Forward(0, at, {piece(x, 0)}, *modules[0]); }));
  if (halves) {
    stage->BackwardInput(0, {piece(dy, 0)});
    ctx.Number("live between the halves", stage->Live());
    stage->BackwardWeight(0);
  } else {
    ctx.Number("refused halves", Refused([&] { stage->BackwardInput(0, {piece(dy, 0)}); }));
    stage->Forget(0);
  }
  // The graph begins at leaves that share the inputs' memory.
  const void* seen = nullptr;
  StageModule scale({{"scale", [&] { return std::make_shared<Scale>(&seen); }, {}, {}}}, 0, 1);
  scale.train();
  const at::Tensor input = piece(x, 0).requires_grad_();
  stage->Forward(5, at, {input}, scale);
  ctx.Number("shares memory", seen == input.data_ptr() ? 1 : 0);
  ctx.Number("input is a leaf", input.is_leaf() && input.requires_grad() ? 1 : 0);
}

// Weight versions: what is refused, changed in place and left out.
SHARDLAB_BODY(promises_of_versions) {
  const LayerSequence model = {{"scale", [] { return std::make_shared<Scale>(); }, {}, {}}};
  Recipe recipe;
  recipe.learning_rate = 1;
  recipe.momentum = 0;
  const auto optimizer = [&](const std::vector<at::Tensor>& parameters) { return MakeOptimizer(recipe, parameters); };
  const auto weights = MakeWeightVersions([=] { return std::make_shared<StageModule>(model, 0, 1); }, optimizer);
  const auto parameter = [&](int version, const std::string& name) {
    for (const auto& [full, value] : weights->At(version).NamedParameters()) {
      if (full == "scale." + name) return value;
    }
    return at::Tensor();
  };
  ctx.Number("refused version", Refused([&] { weights->At(1); }));
  {
    const torch::NoGradGuard no_grad;
    parameter(0, "frozen").fill_(7);
  }
  (parameter(0, "weight") * 0.25).sum().backward();
  auto gradients = weights->Gradients();
  ctx.Number("gradients", static_cast<double>(gradients.size()));
  gradients.at(0).mul_(2);
  weights->Update(1.0);  // of 0.5
  ctx.Number("changed gradient", parameter(1, "weight").item<double>());
  ctx.Number("newest", weights->Newest());
  ctx.Number("cleared", weights->Gradients().at(0).item<double>());
  ctx.Number("frozen", parameter(1, "frozen").item<double>());
  ctx.Number("frozen wants", parameter(1, "frozen").requires_grad() ? 1 : 0);
  weights->Release(0);
  weights->Release(1);
  const void* before = parameter(1, "weight").data_ptr();
  weights->Update(1.0);
  ctx.Number("in place", parameter(2, "weight").data_ptr() == before ? 1 : 0);

  // A chunk without weights.
  int makes = 0;
  const auto none = MakeWeightVersions(
      [] {
        return std::make_shared<StageModule>(
            LayerSequence{{"none", [] { return std::make_shared<NoWeights>(); }, {}, {}}}, 0, 1);
      },
      [&](const std::vector<at::Tensor>& parameters) {
        ++makes;
        return MakeOptimizer(recipe, parameters.empty() ? Tensors{at::zeros({1}).requires_grad_()} : parameters);
      });
  none->Update(1.0);
  ctx.Number("optimizers of no weights", makes);
  ctx.Number("newest of no weights", none->Newest());
}

// Random states that are kept, and what a checkpoint holds.
SHARDLAB_BODY(promises_of_recompute) {
  at::manual_seed(static_cast<uint64_t>(ctx.Param<int64_t>("seed")));
  const RandomState first = SaveRandomState();
  const at::Tensor a = at::rand({3}, at::kDouble);
  const RandomState second = SaveRandomState();
  const at::Tensor b = at::rand({3}, at::kDouble);
  RestoreRandomState(first);
  ctx.Number("first again", at::equal(at::rand({3}, at::kDouble), a) ? 1 : 0);
  RestoreRandomState(second);
  ctx.Number("second again", at::equal(at::rand({3}, at::kDouble), b) ? 1 : 0);
  RestoreRandomState(first);
  ctx.Number("first once more", at::equal(at::rand({3}, at::kDouble), a) ? 1 : 0);

  CountMemory();
  const auto stage = MakeStage();
  StageModule module(ProbeModel(3, 64, 1), 0, 3);
  module.train();
  const auto pieces = MicroBatches(64, 2);
  std::map<int, Checkpoint> kept;
  const Tensors inputs = {at::rand({32, 64}, at::kDouble).requires_grad_()};
  const int64_t before = LiveBytes();
  for (int i = 0; i < 2; ++i) ForwardAndForget(*stage, 3 + i, pieces[static_cast<size_t>(i)], inputs, module, kept[i]);
  // Beside the inputs, which the caller has: the states of the generators.
  ctx.Number("bytes", static_cast<double>(LiveBytes() - before));
  ctx.Number("boundary", static_cast<double>(inputs[0].nbytes()));
  const Checkpoint& one = kept.at(1);
  ctx.Number("number", one.number);
  ctx.Number("index", one.at.index);
  ctx.Number("module", one.module == &module ? 1 : 0);
  ctx.Number("inputs", one.inputs.size() == 1 && one.inputs[0].data_ptr() == inputs[0].data_ptr() ? 1 : 0);
  RunAgain(*stage, kept.at(1));
  ctx.Number("live", stage->Live());
  ctx.Number("backward", Refused([&] { stage->Backward(4, {at::ones({32, 64}, at::kDouble)}); }));
}

// Deferred statistics: when they are written, and in float32 far from zero.
SHARDLAB_BODY(promises_of_statistics) {
  const at::Tensor x = ctx.Input("x");  // float32 [B, C]
  const auto one = MakeDeferredStatistics(), other = MakeDeferredStatistics();
  MicroBatchNorm norm(x.size(1), 1e-5, 0.1, at::kFloat), second(x.size(1), 1e-5, 0.1, at::kFloat);
  norm.train();
  second.train();
  double early = 0;
  for (MicroBatch at : MicroBatches(x.size(0), 4)) {
    early += at::equal(norm.running_mean, at::zeros_like(norm.running_mean)) ? 0 : 1;
    const at::Tensor piece = SamplesOf({x}, at)[0];
    at.statistics = one.get();
    norm.forward(piece, at);
    at.statistics = other.get();
    second.forward(piece + 1, at);
  }
  ctx.Number("early", early);
  ctx.Output("mean", norm.running_mean);
  ctx.Output("var", norm.running_var);
  ctx.Output("second mean", second.running_mean);
}

// SkipRoutes of a model that CheckSkips refuses.
SHARDLAB_BODY(promises_of_skips) {
  const LayerSequence model = {{"a", nullptr, {"x"}, {}}, {"b", nullptr, {}, {}}};
  ctx.Number("refused routes", Refused([&] { SkipRoutes(model, {1, 1}); }));
}

}  // namespace shardlab::grade
