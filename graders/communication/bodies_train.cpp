#include <torch/torch.h>

#include <string>
#include <vector>

#include "shardlab/communication/data_parallel.hpp"
#include "shardlab/grade/body.hpp"
#include "shardlab/layers/recipe.hpp"
#include "shardlab/models/classifiers.hpp"

namespace shardlab::grade {

/// Trains a model on this rank's images: the losses' shares and the final parameters. `counts[step]` of the images and
/// labels, which lie one step behind the other, belong to a step; `batches[step]` is the size of the whole batch.
SHARDLAB_BODY(train) {
  ModelOptions options;
  options.dtype = at::kDouble;
  options.seed = ctx.Param<uint64_t>("model_seed");
  options.conv_channels = ctx.Param<std::vector<int64_t>>("conv_channels");
  options.dense = ctx.Param<int64_t>("dense");
  const auto model = MakeModel(ctx.Param<std::string>("model"), options);
  model->train();
  Recipe recipe;
  recipe.learning_rate = ctx.Param<double>("learning_rate");
  recipe.momentum = ctx.Param<double>("momentum");
  const auto optimizer = MakeOptimizer(recipe, model->parameters());
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
