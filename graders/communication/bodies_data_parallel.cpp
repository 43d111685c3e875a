#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "body_util.hpp"
#include "shardlab/communication/buckets.hpp"
#include "shardlab/communication/data_parallel.hpp"
#include "shardlab/communication/flatten.hpp"
#include "shardlab/communication/overlapped_average.hpp"
#include "shardlab/grade/body.hpp"
#include "watched_memory.hpp"

namespace shardlab::grade {
namespace {

using Json = nlohmann::json;
using Tensors = std::vector<at::Tensor>;
using Shapes = std::vector<std::vector<int64_t>>;

/// Cuts tensors of the given shapes out of `flat`; every third one is non-contiguous.
Tensors Cut(const at::Tensor& flat, const Shapes& shapes) {
  Tensors tensors;
  int64_t begin = 0;
  for (size_t i = 0; i < shapes.size(); ++i) {
    int64_t size = 1;
    for (int64_t n : shapes[i]) size *= n;
    const at::Tensor tensor = flat.narrow(0, begin, size).reshape(shapes[i]).clone();
    tensors.push_back(i % 3 == 2 ? Strided(tensor) : tensor);
    begin += size;
  }
  return tensors;
}

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

/// Packs and unpacks the pieces of `flat` several times; the first result and how many of the others differ from it.
SHARDLAB_BODY(flatten) {
  const at::Tensor flat = ctx.Input("flat");
  const Tensors tensors = Cut(flat, ctx.Param<Shapes>("shapes"));
  const Tensors zeros = Cut(at::zeros_like(flat), ctx.Param<Shapes>("shapes"));
  at::Tensor packed, unpacked;
  int different = 0;
  for (int i = 0; i < ctx.Param<int>("repeats"); ++i) {
    const at::Tensor p = Flatten(tensors);
    for (const at::Tensor& tensor : zeros) tensor.zero_();
    Unflatten(flat, zeros);
    Tensors rows;
    for (const at::Tensor& tensor : zeros) rows.push_back(tensor.reshape({-1}));
    const at::Tensor u = at::cat(rows);
    if (i == 0) {
      packed = p;
      unpacked = u;
    } else if (!p.equal(packed) || !u.equal(unpacked)) {
      ++different;
    }
  }
  ctx.Output("packed", packed);
  ctx.Output("unpacked", unpacked);
  ctx.Number("different", different);
}

/// 256 tensors of 128 KiB, of which number i holds the number i: one number of each that Flatten packed and Unflatten
/// unpacked, and which share of them other threads than the busiest one read, and wrote.
SHARDLAB_BODY(flatten_threads) {
  // Nothing before this uses threads. A tensor is smaller than what LibTorch's own copy divides among threads.
  constexpr int64_t kTensors = 256, kSide = 128;
  WatchedMemory memory(kTensors * kSide * kSide * sizeof(double) / WatchedMemory::kBlockBytes);
  auto* const numbers = static_cast<double*>(memory.data());
  const at::Tensor rows = at::from_blob(numbers, {kTensors, kSide, kSide}, at::kDouble);
  Tensors tensors;
  for (int64_t i = 0; i < kTensors; ++i) {
    std::fill_n(numbers + i * kSide * kSide, kSide * kSide, static_cast<double>(i));
    // A few are not contiguous, and whoever makes them so in a loop without order stands still meanwhile.
    tensors.push_back(i % 16 == 0 ? rows[i].t() : rows[i]);
  }
  memory.Watch();
  const at::Tensor flat = Flatten(tensors);
  ctx.Number("flatten", memory.ShareOfOthers());
  ctx.Output("packed", flat.slice(0, 0, flat.numel(), kSide * kSide));
  std::fill_n(numbers, rows.numel(), -1.0);
  memory.Watch();
  Unflatten(flat, tensors);
  ctx.Number("unflatten", memory.ShareOfOthers());
  ctx.Output("unpacked", rows.select(2, 0).select(1, 0));
}

/// Each call's buckets, one behind the other, each ended by -1.
SHARDLAB_BODY(assign_buckets) {
  const Json& calls = ctx.params().at("calls");
  for (size_t i = 0; i < calls.size(); ++i) {
    std::vector<int64_t> numbers;
    for (const auto& bucket : AssignBuckets(calls[i].at("bytes"), calls[i].at("limit"))) {
      numbers.insert(numbers.end(), bucket.begin(), bucket.end());
      numbers.push_back(-1);
    }
    ctx.Output("buckets" + std::to_string(i), at::tensor(numbers, at::kLong));
  }
}

/// Parameters whose gradients are inputs g<i>, where the rank has one; hands them back averaged.
SHARDLAB_BODY(average_gradients) {
  const auto shapes = ctx.Param<Shapes>("shapes");
  Tensors parameters;
  for (size_t i = 0; i < shapes.size(); ++i) {
    parameters.push_back(at::zeros(shapes[i], at::kDouble).set_requires_grad(true));
    const std::string gradient = "g" + std::to_string(i);
    if (ctx.HasInput(gradient)) parameters[i].mutable_grad() = ctx.Input(gradient);
  }
  AverageGradients(ctx.comm(), parameters, ctx.Param<int64_t>("bucket_bytes"));
  for (size_t i = 0; i < shapes.size(); ++i) ctx.Output("g" + std::to_string(i), parameters[i].grad());
}

/// Linear regression with an unused parameter: the gradients of each call's samples.
SHARDLAB_BODY(data_parallel_step) {
  const Json& calls = ctx.params().at("calls");
  const at::Tensor w = ctx.Input("w").set_requires_grad(true), b = ctx.Input("b").set_requires_grad(true);
  const at::Tensor unused = at::zeros({3}, at::kDouble).set_requires_grad(true);
  const Trainable model{{w, b, unused}, [&](const at::Tensor& inputs, const at::Tensor& targets) {
                          return (inputs.mm(w) + b - targets).pow(2).sum(1).mean();
                        }};
  for (size_t i = 0; i < calls.size(); ++i) {
    const std::string number = std::to_string(i);
    for (const at::Tensor& parameter : model.parameters) parameter.mutable_grad() = at::Tensor();
    ctx.Number("share" + number,
               DataParallelStep(ctx.comm(), model, ctx.Input("x" + number), ctx.Input("y" + number),
                                calls[i].at("batch"), calls[i].at("micro_batches"), calls[i].at("bucket_bytes")));
    ctx.Output("dw" + number, w.grad());
    ctx.Output("db" + number, b.grad());
    ctx.Output("dunused" + number, unused.grad());
  }
}

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
