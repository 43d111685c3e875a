#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <torch/torch.h>

#include "kit/strides.hpp"
#include "probe.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/grade/body.hpp"
#include "shardlab/pipeline/clip.hpp"
#include "shardlab/pipeline/deferred_statistics.hpp"
#include "shardlab/pipeline/micro_batches.hpp"
#include "shardlab/pipeline/recompute.hpp"
#include "shardlab/pipeline/skips.hpp"
#include "shardlab/pipeline/stage.hpp"
#include "shardlab/pipeline/two_stages.hpp"
#include "shardlab/pipeline/weights.hpp"
#include "training_plan.hpp"

// Bodies that call one piece of the pipeline.

namespace shardlab::grade {

namespace {

at::Tensor Bytes(const std::string& text) {
  return at::from_blob(const_cast<char*>(text.data()), {static_cast<int64_t>(text.size())}, at::kByte).clone();
}

// A layer of a tuple: [x, index, plain, a, b, ...] to [tanh(h) * index, index, plain + 1, h, h] of h = x W' + a / 2 + b
// / 4, a and b summed over their columns. The integers and `plain`, which wants no gradient, go through; h is there
// twice, and beside something that is made of it; what comes behind b is used for nothing.
class TupleLayer final : public Layer {
 public:
  explicit TupleLayer(const at::Tensor& weight) { weight_ = register_parameter("weight", weight); }
  Tensors Forward(const Tensors& x, const MicroBatch&) override {
    const at::Tensor h = x.at(0).mm(weight_.t()) + x.at(3).sum(1, true) / 2 + x.at(4).sum(1, true) / 4;
    return {at::tanh(h) * x.at(1).to(at::kDouble).unsqueeze(1), x.at(1), x.at(2) + 1, h, h};
  }

 private:
  at::Tensor weight_;
};

}  // namespace

// Steps of a model cut in two, by hand.
SHARDLAB_BODY(two_stages) {
  const TrainingPlan plan = ctx.params().get<TrainingPlan>();
  const int layers = static_cast<int>(plan.MakeModel().size());
  const int begin = ctx.rank() == 0 ? 0 : plan.balance.at(0);
  const int end = ctx.rank() == 0 ? plan.balance.at(0) : layers;
  StageModule module(plan.MakeModel(), begin, end);
  module.train();
  const auto optimizer = MakeOptimizer(plan.MakeRecipe(), module.parameters());
  const bool transposes = ctx.Param<bool>("transposes");
  int calls = 0;
  const HalfModel half = [&](const at::Tensor& x) {
    ++calls;
    const at::Tensor y = module.Forward({x}, MicroBatch()).at(0);
    // Column by column in memory: what is sent has to be made contiguous.
    return transposes && ctx.rank() == 0 ? y.t().contiguous().t() : y;
  };
  const at::Tensor all = ctx.Input(ctx.rank() == 0 ? "images" : "labels");
  const at::Tensor all_before = all.clone();
  std::vector<std::pair<std::string, at::Tensor>> before;
  for (const auto& [name, value] : module.NamedParameters()) before.emplace_back(name, value.detach().clone());
  std::vector<double> losses;
  bool left_alone = true;
  int64_t at = 0;
  for (size_t step = 0; step < plan.batches.size(); ++step) {
    ctx.Mark("step " + std::to_string(step));
    const at::Tensor data = all.narrow(0, at, plan.batches[step]);
    losses.push_back(TwoStageStep(half, *optimizer, data, ctx.comm()));
    left_alone = left_alone && !data.requires_grad();
    at += plan.batches[step];
  }
  ctx.Mark("end");
  ctx.Output("losses", at::tensor(losses, at::kDouble));
  ctx.Number("calls", calls);
  ctx.Number("data left alone", left_alone && at::equal(all, all_before) ? 1 : 0);
  size_t i = 0;
  for (const auto& [name, value] : module.NamedParameters()) {
    ctx.Output("param." + name, value);
    ctx.Output("change." + name, (before[i++].second - value.detach()) / plan.learning_rate);
  }
}

// By another number of ranks than two: whether it is refused.
SHARDLAB_BODY(two_stages_of_other_ranks) {
  const at::Tensor x = at::ones({1, 1}, at::kDouble);
  const auto optimizer = MakeOptimizer(Recipe(), {at::ones({1}, at::kDouble).requires_grad_()});
  double refused = 0;
  try {
    TwoStageStep([](const at::Tensor& in) { return in; }, *optimizer, x, ctx.comm());
  } catch (const ContractError&) {
    refused = 1;
  } catch (const NotImplemented&) {
    throw;
  } catch (const std::exception& error) {
    throw std::logic_error(
        "unless there are two ranks TwoStageStep throws ContractError before its first message; here it went on: " +
        Brief(error));
  }
  ctx.Number("refused", refused);
}

// The pieces of several mini-batches: rows of index, count, begin, end, batch, step; and what SamplesOf and ShareOf
// make of them.
SHARDLAB_BODY(micro_batches) {
  const auto& asked = ctx.params().at("asked");
  for (size_t k = 0; k < asked.size(); ++k) {
    const auto samples = asked[k].at(0).get<int64_t>();
    const at::Tensor batch = at::arange(samples * 2, at::kDouble).view({samples, 2});
    std::vector<at::Tensor> rows, values, shares, parallel_shares;
    for (MicroBatch at : MicroBatches(samples, asked[k].at(1).get<int>(), 7)) {
      rows.push_back(at::tensor({static_cast<int64_t>(at.index), static_cast<int64_t>(at.count), at.samples.begin,
                                 at.samples.end, at.batch, at.step},
                                at::kLong));
      const Tensors piece = SamplesOf({batch}, at);
      values.push_back(piece.at(0));
      const LossShare share = ShareOf([](const Tensors& y, const at::Tensor&) { return y.at(0).mean(); });
      shares.push_back(share(piece, {}, at));
      at.update_samples = 4 * samples;
      parallel_shares.push_back(share(piece, {}, at));
    }
    ctx.Output("pieces " + std::to_string(k), at::stack(rows));
    ctx.Output("samples " + std::to_string(k), at::cat(values));
    ctx.Output("loss " + std::to_string(k), at::stack(shares).sum());
    ctx.Output("part of a loss " + std::to_string(k), at::stack(parallel_shares).sum());
  }
}

// A stage by itself on two micro-batches, forward, forward, backward, backward; with a tuple of tensors through it.
SHARDLAB_BODY(stage) {
  const bool halves = ctx.Param<bool>("halves");
  const auto stage = halves ? MakeSplitStage() : MakeStage();
  const at::Tensor first = ctx.Input("w0"), second = ctx.Input("w1");
  const LayerSequence model = {{"a", [=] { return std::make_shared<TupleLayer>(first.clone()); }, {}, {}},
                               {"b", [=] { return std::make_shared<TupleLayer>(second.clone()); }, {}, {}}};
  StageModule module(model, 0, 2);
  module.train();
  const auto pieces = MicroBatches(6, 2);
  std::vector<Tensors> given;
  for (int i = 0; i < 2; ++i) {
    const auto piece = [&](const char* name) {
      return SamplesOf({ctx.Input(name)}, pieces[static_cast<size_t>(i)])[0].clone();
    };
    const at::Tensor x = piece("x").requires_grad_();
    const Tensors inputs = {x,
                            piece("index"),
                            x.detach() * 2,
                            piece("a").requires_grad_(),
                            piece("b").requires_grad_(),
                            piece("a").requires_grad_()};
    const Tensors outputs = stage->Forward(i, pieces[static_cast<size_t>(i)], inputs, module);
    given.push_back({x, inputs.back()});
    ctx.Output("y" + std::to_string(i), outputs.at(0));
    ctx.Output("index" + std::to_string(i), outputs.at(1));
    ctx.Number("wants" + std::to_string(i), (outputs.at(0).requires_grad() && outputs.at(3).requires_grad() ? 1 : 0) +
                                                (outputs.at(1).requires_grad() ? 2 : 0) +
                                                (outputs.at(2).requires_grad() ? 4 : 0) +
                                                (outputs.at(0).grad_fn() ? 8 : 0));
  }
  ctx.Number("live", stage->Live());
  for (int i = 1; i >= 0; --i) {
    const Tensors gradients = {SamplesOf({ctx.Input("dy")}, pieces[static_cast<size_t>(i)])[0], at::Tensor(),
                               at::Tensor(), SamplesOf({ctx.Input("dh")}, pieces[static_cast<size_t>(i)])[0],
                               at::Tensor()};
    Tensors dx;
    if (halves) {
      dx = stage->BackwardInput(i, gradients);
      if (i == 1) ctx.Number("half", module.parameters()[0].grad().defined() ? 1 : 0);
      stage->BackwardWeight(i);
    } else {
      dx = stage->Backward(i, gradients);
    }
    ctx.Output("dx" + std::to_string(i), dx.at(0));
    ctx.Output("da" + std::to_string(i), dx.at(3));
    ctx.Output("db" + std::to_string(i), dx.at(4));
    ctx.Number("touched" + std::to_string(i), given[static_cast<size_t>(i)][0].grad().defined() ? 1 : 0);
    ctx.Number("others" + std::to_string(i), (dx.at(1).defined() ? 1 : 0) + (dx.at(2).defined() ? 2 : 0));
    ctx.Number("unused" + std::to_string(i),
               dx.at(5).defined() && at::equal(dx.at(5), at::zeros_like(given[static_cast<size_t>(i)][1])) ? 1 : 0);
  }
  ctx.Number("left", stage->Live());
  for (const auto& [name, value] : module.NamedParameters()) ctx.Output("grad." + name, value.grad());
}

// Graphs of a layer that are alive when one of four micro-batches has come back. Whoever keeps outputs keeps no graph.
SHARDLAB_BODY(stage_keeps) {
  StageModule module(ProbeModel(2, 4, 1), 0, 2);
  const auto stage = MakeStage();
  std::vector<Tensors> outputs;
  ResetProbes();
  int number = 0;
  for (const MicroBatch& at : MicroBatches(8, 4)) {
    outputs.push_back(stage->Forward(number++, at, {at::ones({2, 4}, at::kDouble).requires_grad_()}, module));
  }
  stage->Backward(0, {at::ones({2, 4}, at::kDouble)});
  ctx.Number("graphs", static_cast<double>(Probes().live));
}

// A layer that draws from LibTorch's generator, with and without recomputation.
SHARDLAB_BODY(recompute_dropout) {
  const auto draws = [&](bool again) {
    at::manual_seed(static_cast<uint64_t>(ctx.Param<int64_t>("seed")));
    const auto stage = MakeStage();
    const LayerSequence model = {SimpleLayer(
        "drop", [] { return torch::nn::Linear(4, 4); },
        [](auto&, const at::Tensor& x) { return at::dropout(x, 0.5, true); })};
    StageModule module(model, 0, 1);
    std::map<int, Checkpoint> kept;
    std::vector<at::Tensor> seen;
    const auto pieces = MicroBatches(9, 3);
    for (int i = 0; i < 3; ++i) {
      const Tensors inputs = {at::ones({3, 4}, at::kDouble).requires_grad_()};
      const MicroBatch& at = pieces[static_cast<size_t>(i)];
      seen.push_back(again ? ForwardAndForget(*stage, i, at, inputs, module, kept[i])[0]
                           : stage->Forward(i, at, inputs, module)[0]);
      if (again && stage->Live() != 0)
        throw ContractError("after ForwardAndForget the micro-batch must not be under way");
      if (again && !seen.back().requires_grad())
        throw ContractError("what ForwardAndForget returns must say that it wants a gradient: run it with autograd on");
    }
    for (int i = 2; i >= 0; --i) {
      if (again) RunAgain(*stage, kept.at(i));
      seen.push_back(at::rand({2}, at::kDouble));  // what somebody else draws in between
      seen.push_back(stage->Backward(i, {at::ones({3, 4}, at::kDouble)})[0]);
    }
    return seen;
  };
  const auto expected = draws(false);
  const auto got = draws(true);
  for (size_t i = 0; i < expected.size(); ++i) {
    ctx.Output("expected " + std::to_string(i), expected[i]);
    ctx.Output("got " + std::to_string(i), got[i]);
  }
}

// Running statistics after some mini-batches, the last of which is smaller.
SHARDLAB_BODY(deferred) {
  const auto statistics = MakeDeferredStatistics();
  MicroBatchNorm norm(3, 1e-5, 0.1, at::kDouble), other(3, 1e-5, 0.3, at::kDouble);
  norm.train();
  other.train();
  const at::Tensor x = ctx.Input("x");
  const auto batches = ctx.Param<std::vector<int64_t>>("batches");
  const bool again = ctx.Param<bool>("again");
  int64_t begin = 0;
  for (const int64_t samples : batches) {
    for (MicroBatch at : MicroBatches(samples, ctx.Param<int>("microbatches"))) {
      at.statistics = statistics.get();
      const at::Tensor piece = SamplesOf({x.narrow(0, begin, samples)}, at)[0];
      norm.forward(piece, at);
      other.forward(piece, at);
      if (!again) continue;
      at.recomputed = true;
      norm.forward(piece, at);
      other.forward(piece, at);
    }
    begin += samples;
  }
  ctx.Output("mean", norm.running_mean);
  ctx.Output("var", norm.running_var);
  ctx.Output("count", norm.num_batches_tracked);
  ctx.Output("other", other.running_mean);
}

// Gradients of several ranks, clipped.
SHARDLAB_BODY(clip) {
  std::vector<at::Tensor> gradients;
  while (ctx.HasInput("gradient " + std::to_string(gradients.size()))) {
    const at::Tensor gradient = ctx.Input("gradient " + std::to_string(gradients.size()));
    gradients.push_back(ctx.Param<bool>("strided") ? Transposed(gradient) : gradient);
  }
  const auto max_norm = ctx.params().at("max_norm").get<double>();
  const auto copies = ctx.Param<int>("copies");
  ctx.Number("norm", copies == 1 ? ClipGradients(gradients, max_norm, ctx.comm())
                                 : ClipGradients(gradients, max_norm, ctx.comm(),
                                                 std::vector<double>(gradients.size(), 1.0 / copies)));
  for (size_t i = 0; i < gradients.size(); ++i) ctx.Output("clipped " + std::to_string(i), gradients[i]);
}

// Weight versions by themselves: which are held, what they are, and that those in use do not change.
SHARDLAB_BODY(versions) {
  const LayerSequence model = {SimpleLayer(
      "w",
      [] {
        torch::nn::Linear linear(torch::nn::LinearOptions(1, 1).bias(false));
        linear->to(at::kDouble);
        linear->weight.set_data(at::ones({1, 1}, at::kDouble));
        return linear;
      },
      [](auto& linear, const at::Tensor& x) { return linear->forward(x); })};
  Recipe recipe;
  recipe.learning_rate = 1.0;
  recipe.momentum = 0.5;
  const auto weights =
      MakeWeightVersions([=] { return std::make_shared<StageModule>(model, 0, 1); },
                         [=](const std::vector<at::Tensor>& parameters) { return MakeOptimizer(recipe, parameters); });
  const auto value = [&](int version) { return weights->At(version).parameters()[0].item<double>(); };
  const auto add = [&](int version, double gradient) {
    at::Tensor parameter = weights->At(version).parameters()[0];
    (parameter * gradient).sum().backward();
  };
  add(0, 0.25);
  weights->Update(1.0);  // version 0 in use: 1 is a copy
  ctx.Number("w0 in use", value(0));
  ctx.Number("w1", value(1));
  ctx.Number("held of 0 1", weights->Held());
  add(0, 0.25);
  add(1, 0.5);
  weights->Release(0);
  weights->Update(1.0);  // of gradients on 0 and on 1
  ctx.Number("w1 in use", value(1));
  ctx.Number("w2", value(2));
  ctx.Number("held of 1 2", weights->Held());
  weights->Release(1);
  weights->Release(2);
  add(2, 1.0);
  weights->Update(0.5);  // version 2 was released: in place
  ctx.Number("w3", value(3));
  ctx.Number("held of 3", weights->Held());
  double refused = 0;
  try {
    weights->At(2);
  } catch (const ContractError&) {
    refused = 1;
  }
  ctx.Number("refused", refused);
  weights->Update(1.0);  // version 3 is still held
  weights->Restart();
  ctx.Number("restarted", value(0));
  ctx.Number("newest", weights->Newest());
  ctx.Number("held after", weights->Held());
}

// Routes of models of layers with skips; "error: ..." where they are refused.
SHARDLAB_BODY(skips) {
  const auto& asked = ctx.params().at("asked");
  for (size_t i = 0; i < asked.size(); ++i) {
    LayerSequence model;
    for (const auto& layer : asked[i].at("layers")) {
      model.push_back({layer.at("name"), nullptr, layer.at("stashes"), layer.at("pops")});
    }
    std::string text;
    try {
      CheckSkips(model);
      for (const SkipRoute& route : SkipRoutes(model, asked[i].at("balance"))) {
        text += route.name + " " + std::to_string(route.from) + " " + std::to_string(route.to) + "\n";
      }
    } catch (const ContractError& error) {
      text = std::string("error: ") + error.what();
    }
    ctx.Output("routes " + std::to_string(i), Bytes(text));
  }
}

}  // namespace shardlab::grade
