#include <torch/torch.h>

#include <algorithm>
#include <string>
#include <vector>

#include "kit/image_training.hpp"
#include "kit/strides.hpp"
#include "shardlab/communication/buckets.hpp"
#include "shardlab/communication/data_parallel.hpp"
#include "shardlab/grade/body.hpp"
#include "shardlab/layers/recipe.hpp"
#include "shardlab/models/classifiers.hpp"

namespace shardlab::grade {
namespace {

using Json = nlohmann::json;
using Tensors = std::vector<at::Tensor>;
using Shapes = std::vector<std::vector<int64_t>>;

}  // namespace

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
    const std::string gradient = "g" + std::to_string(i);
    const auto dtype = ctx.Param<bool>("float32") ? at::kFloat : at::kDouble;
    parameters.push_back(at::zeros(shapes[i], dtype).set_requires_grad(true));
    // Every second one lies otherwise than its parameter.
    if (ctx.HasInput(gradient)) {
      const at::Tensor given = ctx.Input(gradient).to(dtype);
      parameters[i].mutable_grad() = i % 2 == 1 ? Strided(given) : given;
    }
  }
  AverageGradients(ctx.comm(), parameters, ctx.Param<int64_t>("bucket_bytes"));
  if (ctx.Param<bool>("again")) {  // other parameters of the same shapes: the first ones keep their gradients
    Tensors others;
    for (const at::Tensor& parameter : parameters) {
      others.push_back(at::zeros_like(parameter).set_requires_grad(true));
      others.back().mutable_grad() = at::full_like(parameter, 1000.0 + ctx.rank()).detach();
    }
    AverageGradients(ctx.comm(), others, ctx.Param<int64_t>("bucket_bytes"));
  }
  for (size_t i = 0; i < shapes.size(); ++i) ctx.Output("g" + std::to_string(i), parameters[i].grad());
}

/// Adds a tensor to the graph that is alive as long as what backward needs.
struct CountGraphs : torch::autograd::Function<CountGraphs> {
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& x, int64_t alive) {
    auto* const count = reinterpret_cast<int64_t*>(alive);
    ++*count;
    ctx->save_for_backward({at::from_blob(
        count, {1}, [count](void*) { --*count; }, at::kLong)});
    return x.clone();
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext*,
                                                 torch::autograd::variable_list gradients) {
    return {gradients[0].clone(), at::Tensor()};
  }
};

/// Linear regression with an unused parameter: the gradients of each call's samples, how many of them were run together,
/// and how many graphs of micro-batches were alive when the next one began. In every second call the gradients are zeros
/// and not undefined.
SHARDLAB_BODY(data_parallel_step) {
  const Json& calls = ctx.params().at("calls");
  const at::Tensor w = ctx.Input("w").set_requires_grad(true), b = ctx.Input("b").set_requires_grad(true);
  const at::Tensor unused = at::zeros({3}, at::kDouble).set_requires_grad(true);
  std::vector<int64_t> samples;
  int64_t alive = 0, most_alive = 0;
  const Trainable model{{w, b, unused}, [&](const at::Tensor& inputs, const at::Tensor& targets) {
                          samples.push_back(inputs.size(0));
                          most_alive = std::max(most_alive, alive);
                          return CountGraphs::apply((inputs.mm(w) + b - targets).pow(2).sum(1).mean(),
                                                    reinterpret_cast<int64_t>(&alive));
                        }};
  for (size_t i = 0; i < calls.size(); ++i) {
    const std::string number = std::to_string(i);
    samples.clear();
    most_alive = 0;
    for (const at::Tensor& parameter : model.parameters) {
      parameter.mutable_grad() = i % 2 == 1 ? at::zeros_like(parameter).detach() : at::Tensor();
    }
    ctx.Number("share" + number,
               DataParallelStep(ctx.comm(), model, ctx.Input("x" + number), ctx.Input("y" + number),
                                calls[i].at("batch"), calls[i].at("micro_batches"), calls[i].at("bucket_bytes")));
    ctx.Output("dw" + number, w.grad());
    ctx.Output("db" + number, b.grad());
    ctx.Output("dunused" + number, unused.grad());
    ctx.Output("samples" + number, at::tensor(samples, at::kLong));
    ctx.Number("alive" + number, static_cast<double>(most_alive));
  }
}

/// Trains a model on this rank's images: the losses' shares and the final parameters. `counts[step]` of the images and
/// labels, which lie one step behind the other, belong to a step; `batches[step]` is the size of the whole batch.
SHARDLAB_BODY(train) {
  const ImageTraining plan = ImageTraining::FromJson(ctx.params());
  const auto model = MakeModel(plan.model, plan.model_options);
  model->train();
  const auto optimizer = MakeOptimizer(plan.train_options.recipe, model->parameters());
  const Trainable trainable{model->parameters(), [&](const at::Tensor& images, const at::Tensor& labels) {
                              return torch::nn::functional::cross_entropy(model->forward(images), labels);
                            }};

  const at::Tensor images = ctx.Input("images"), labels = ctx.Input("labels"), counts = ctx.Input("counts");
  const auto batches = ctx.Param<std::vector<int64_t>>("batches");
  std::vector<double> shares;
  int64_t begin = 0;
  for (size_t step = 0; step < batches.size(); ++step) {
    const int64_t count = counts[step].item<int64_t>();
    optimizer->zero_grad();
    shares.push_back(DataParallelStep(ctx.comm(), trainable, images.narrow(0, begin, count),
                                      labels.narrow(0, begin, count), batches[step],
                                      ctx.Param<int64_t>("micro_batches"), ctx.Param<int64_t>("bucket_bytes")));
    optimizer->step();
    begin += count;
  }
  ctx.Output("shares", at::tensor(shares, at::kDouble));
  for (const auto& parameter : model->named_parameters()) ctx.Output(parameter.key(), parameter.value().detach());
}

}  // namespace shardlab::grade
