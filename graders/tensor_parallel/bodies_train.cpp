#include <stdexcept>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/torch.h>

#include "kit/image_training.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/grade/body.hpp"
#include "shardlab/models/sequences.hpp"
#include "shardlab/models/trainer.hpp"
#include "shardlab/tensor_parallel/parallel_model.hpp"

namespace shardlab::grade {
namespace {

// The loss of too few logits is an index out of range to LibTorch.
void CheckLogits(const at::Tensor& logits_BK, const ImageTraining& plan, const Batch& batch) {
  const std::vector<int64_t> right{batch.images.size(0), plan.model_options.classes};
  if (logits_BK.sizes() == at::IntArrayRef(right)) return;
  throw std::runtime_error(fmt::format(
      "the logits of {} have shape [{}]; they must be [{}] on every rank: behind the last layer they are whole",
      plan.model, fmt::join(logits_BK.sizes(), ", "), fmt::join(right, ", ")));
}

}  // namespace

// What this rank holds of a model before anything is learnt.
SHARDLAB_BODY(model_parts) {
  const ImageTraining plan = ImageTraining::FromJson(ctx.params());
  SequenceClassifier model(MakeParallelModel(plan.model, plan.model_options, ctx.shared_comm()));
  for (const auto& parameter : model.named_parameters()) ctx.Output("param." + parameter.key(), parameter.value());
  for (const auto& buffer : model.named_buffers()) ctx.Output("buffer." + buffer.key(), buffer.value());
}

// Trains a model on the images that the referee sends, with the loop of one process, and hands back every loss and what
// this rank holds of the model in the end.
SHARDLAB_BODY(train) {
  const ImageTraining plan = ImageTraining::FromJson(ctx.params());
  SequenceClassifier model(MakeParallelModel(plan.model, plan.model_options, ctx.shared_comm()));
  const at::Tensor images = ctx.Input("images");
  const at::Tensor labels = ctx.Input("labels");

  {
    const torch::NoGradGuard no_grad;
    model.eval();
    const Batch first = plan.BatchOf(0, images, labels);
    CheckLogits(model.forward(first.images), plan, first);
  }
  TrainOptions options = plan.train_options;
  ctx.Mark("step 0");
  options.on_step = [&](int64_t step, double) { ctx.Mark("step " + std::to_string(step + 1)); };
  const TrainResult result = Train(
      model, [&](int64_t step) { return plan.BatchOf(step, images, labels); }, options);

  ctx.Output("losses", at::tensor(result.losses, at::kDouble));
  for (const auto& [name, value] : result.parameters) ctx.Output("param." + name, value);
  for (const auto& [name, value] : result.buffers) ctx.Output("buffer." + name, value);
}

// The gradients of the first step: loss, logits and gradients, with marks around forward and backward.
SHARDLAB_BODY(first_step) {
  const ImageTraining plan = ImageTraining::FromJson(ctx.params());
  SequenceClassifier model(MakeParallelModel(plan.model, plan.model_options, ctx.shared_comm()));
  for (const auto& parameter : model.named_parameters()) ctx.Output("param." + parameter.key(), parameter.value());
  const Batch batch = plan.BatchOf(0, ctx.Input("images"), ctx.Input("labels"));

  model.train();
  ctx.Mark("forward");
  Skips skips;
  std::vector<at::Tensor> whole{batch.images};  // what lies before, between and behind the layers
  for (size_t i = 0; i < model.layers().size(); ++i) {
    whole.push_back(model.Run(i, i + 1, {whole.back()}, skips).at(0));
  }
  const at::Tensor& logits_BK = whole.back();
  CheckLogits(logits_BK, plan, batch);
  ctx.Mark("backward");
  at::cross_entropy_loss(logits_BK, batch.labels).backward();
  ctx.Mark("end");

  ctx.Output("logits", logits_BK);
  ctx.Number("layers", static_cast<double>(model.layers().size()));
  for (size_t i = 1; i + 1 < whole.size(); ++i) ctx.Output("behind " + std::to_string(i), whole[i].detach());
  for (const auto& parameter : model.named_parameters()) {
    if (parameter.value().grad().defined()) ctx.Output("grad." + parameter.key(), parameter.value().grad());
  }
  model.eval();
  const torch::NoGradGuard no_grad;
  ctx.Output("evaluated", model.forward(batch.images));
}

}  // namespace shardlab::grade
