#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "shardlab/communication/overlapped_average.hpp"
#include "shardlab/grade/body.hpp"

namespace shardlab::grade {
namespace {

using Tensors = std::vector<at::Tensor>;
using Shapes = std::vector<std::vector<int64_t>>;

double Seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// The identity, whose backward takes a while and leaves a mark when it is done.
struct SlowLayer : torch::autograd::Function<SlowLayer> {
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& x, int64_t layer, double seconds,
                            int64_t context) {
    ctx->saved_data["layer"] = layer;
    ctx->saved_data["seconds"] = seconds;
    ctx->saved_data["context"] = context;
    return x.clone();
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list gradients) {
    std::this_thread::sleep_for(std::chrono::duration<double>(ctx->saved_data["seconds"].toDouble()));
    reinterpret_cast<RankContext*>(ctx->saved_data["context"].toInt())
        ->Mark("layer " + std::to_string(ctx->saved_data["layer"].toInt()));
    return {gradients[0].clone(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

/// A chain of slow layers, one bucket each: a step without overlap, with all-reduces after backward, and one with.
SHARDLAB_BODY(overlap_time) {
  const int64_t layers = ctx.Param<int64_t>("layers");
  const double seconds = ctx.Param<double>("layer_s");
  Tensors weights;
  for (int64_t i = 0; i < layers; ++i)
    weights.push_back(at::full({4}, 1.0 + ctx.rank(), at::kDouble).set_requires_grad(true));
  const auto loss = [&] {
    at::Tensor h = at::ones({4}, at::kDouble);
    for (int64_t i = 0; i < layers; ++i) {
      h = SlowLayer::apply(h * weights[i], i, seconds, reinterpret_cast<int64_t>(&ctx));
    }
    return h.sum();
  };
  const auto gradients = [&] {
    Tensors all;
    for (const at::Tensor& weight : weights) all.push_back(weight.grad());
    return all;
  };
  auto average = MakeOverlappedAverage(ctx.shared_comm(), weights, 4 * 8);

  // In turn, and the best of each: another program on the machine delays a step now and then, never speeds it up.
  double with = std::numeric_limits<double>::infinity();
  double without = with;
  for (int64_t repeat = 0; repeat < ctx.Param<int64_t>("repeats"); ++repeat) {
    for (const at::Tensor& weight : weights) weight.mutable_grad() = at::Tensor();
    ctx.comm().Barrier();
    double start = Seconds();
    average->Begin(false);  // the hooks stay quiet
    loss().backward();
    for (int64_t i = layers - 1; i >= 0; --i) {
      at::Tensor gradient = weights[i].grad().clone();
      ctx.comm().AllReduce(gradient);
      weights[i].mutable_grad() = gradient.div_(ctx.size());
    }
    without = std::min(without, Seconds() - start);
    if (repeat == 0) ctx.Output("without", at::stack(gradients()));
    for (const at::Tensor& weight : weights) weight.mutable_grad() = at::Tensor();

    ctx.comm().Barrier();
    ctx.Mark("with overlap");
    start = Seconds();
    average->Begin(true);
    loss().backward();
    ctx.Mark("backward returned");
    average->Finish();
    with = std::min(with, Seconds() - start);
    if (repeat == 0) ctx.Output("with", at::stack(gradients()));
  }
  ctx.Number("without_s", without);
  ctx.Number("with_s", with);
}

/// Backwards that use the parameters in an order of the rank's own, or leave one out: c<b>_<i> is the gradient that
/// backward b gives parameter i.
SHARDLAB_BODY(overlap_values) {
  const auto shapes = ctx.Param<Shapes>("shapes");
  const auto order = ctx.Param<std::vector<std::vector<int64_t>>>("order").at(ctx.rank());
  Tensors parameters;
  for (const auto& shape : shapes) parameters.push_back(at::ones(shape, at::kDouble).set_requires_grad(true));
  auto average = MakeOverlappedAverage(ctx.shared_comm(), parameters, ctx.Param<int64_t>("bucket_bytes"));
  for (int step = 0; step < ctx.Param<int>("steps"); ++step) {
    for (const at::Tensor& parameter : parameters) parameter.mutable_grad() = at::Tensor();
    const int backwards = ctx.Param<int>("backwards");
    for (int backward = 0; backward < backwards; ++backward) {
      average->Begin(backward + 1 == backwards);
      at::Tensor loss = at::zeros({}, at::kDouble).set_requires_grad(true);  // a loss also of no parameter at all
      for (int64_t i : order) {
        const at::Tensor c = ctx.Input("c" + std::to_string(backward) + "_" + std::to_string(i));
        loss = loss * 1 + (parameters[i] * c).sum();
      }
      loss.backward();
      ctx.Mark("backward " + std::to_string(backward));
    }
    average->Finish();
  }
  for (size_t i = 0; i < shapes.size(); ++i) ctx.Output("g" + std::to_string(i), parameters[i].grad());
}

}  // namespace shardlab::grade
