#include <string>
#include <vector>

#include <torch/torch.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/grade/body.hpp"
#include "shardlab/models/trainer.hpp"
#include "shardlab/tensor_parallel/parallel_model.hpp"
#include "training.hpp"

namespace shardlab::grade {

// Trains a model on the images that the referee sends, with the loop of one process, and hands back every loss and what
// this rank holds of the model in the end.
SHARDLAB_BODY(train) {
  const TrainingPlan plan = TrainingPlan::FromJson(ctx.params());
  const std::shared_ptr<ImageClassifier> model = MakeParallelModel(plan.model, plan.model_options, ctx.shared_comm());
  const at::Tensor images = ctx.Input("images");
  const at::Tensor labels = ctx.Input("labels");

  TrainOptions options = plan.train_options;
  ctx.Mark("step 0");
  options.on_step = [&](int64_t step, double) { ctx.Mark("step " + std::to_string(step + 1)); };
  const TrainResult result = Train(
      *model, [&](int64_t step) { return plan.BatchOf(step, images, labels); }, options);

  ctx.Output("losses", at::tensor(result.losses, at::kDouble));
  for (const auto& [name, value] : result.parameters) ctx.Output("param." + name, value);
  for (const auto& [name, value] : result.buffers) ctx.Output("buffer." + name, value);
}

// The gradients of the first step: loss, logits and gradients, with marks around forward and backward.
SHARDLAB_BODY(first_step) {
  const TrainingPlan plan = TrainingPlan::FromJson(ctx.params());
  const std::shared_ptr<ImageClassifier> model = MakeParallelModel(plan.model, plan.model_options, ctx.shared_comm());
  for (const auto& parameter : model->named_parameters()) ctx.Output("param." + parameter.key(), parameter.value());
  const Batch batch = plan.BatchOf(0, ctx.Input("images"), ctx.Input("labels"));

  model->train();
  ctx.Mark("forward");
  const at::Tensor logits_BK = model->forward(batch.images);
  ctx.Mark("backward");
  at::cross_entropy_loss(logits_BK, batch.labels).backward();
  ctx.Mark("end");

  ctx.Output("logits", logits_BK);
  for (const auto& parameter : model->named_parameters()) {
    if (parameter.value().grad().defined()) ctx.Output("grad." + parameter.key(), parameter.value().grad());
  }
  model->eval();
  const torch::NoGradGuard no_grad;
  ctx.Output("evaluated", model->forward(batch.images));
}

}  // namespace shardlab::grade
