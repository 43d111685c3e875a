#include <stdexcept>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/torch.h>

#include "kit/image_training.hpp"
#include "kit/run_calls.hpp"
#include "model_calls.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/grade/body.hpp"
#include "shardlab/layers/batch_norm.hpp"
#include "shardlab/measure/memory.hpp"
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

// What this rank holds of models before anything is learnt, and what making them took. "<i>.again.<name>": how the
// parameter is when the layers are made a second time: 0 the same values elsewhere, 1 in the same memory, 2 different.
SHARDLAB_BODY(model_parts) {
  ForEachCall(ctx, [&](const std::string& i, const nlohmann::json& call) {
    const ImageTraining plan = TrainingFrom(call);
    ctx.Mark("make " + i);
    const int64_t before = LiveBytes();
    const LayerSequence sequence = MakeParallelModel(plan.model, plan.model_options, ctx.shared_comm());
    ctx.Number(i + ".in_specs", static_cast<double>(LiveBytes() - before));
    SequenceClassifier model(sequence);
    ctx.Number(i + ".kept", static_cast<double>(LiveBytes() - before));
    const SequenceClassifier twin(sequence);
    ctx.Mark("made " + i);

    ctx.Number(i + ".layers", static_cast<double>(sequence.size()));
    for (size_t layer = 0; layer < sequence.size(); ++layer) {
      for (const std::string& name : sequence[layer].joins)
        ctx.Number(fmt::format("{}.joins.{}.{}", i, layer, name), 1);
    }
    const auto twins = twin.named_parameters();
    for (const auto& parameter : model.named_parameters()) {
      const at::Tensor& mine = parameter.value();
      ctx.Output(i + ".param." + parameter.key(), mine);
      const at::Tensor* other = twins.find(parameter.key());
      const bool same = other != nullptr && other->sizes() == mine.sizes() && at::equal(*other, mine);
      const bool shared = other != nullptr && mine.numel() > 0 && other->is_alias_of(mine);
      ctx.Number(i + ".again." + parameter.key(), shared ? 1 : same ? 0 : 2);
    }
    for (const auto& buffer : model.named_buffers()) ctx.Output(i + ".buffer." + buffer.key(), buffer.value());

    if (!ctx.HasInput(i + ".images")) return;
    struct Recorder : BatchStatistics {
      void Track(MicroBatchNorm&, const at::Tensor& x, const MicroBatch&) override { seen.push_back(x.clone()); }
      std::vector<at::Tensor> seen;
    } recorder;
    const at::Tensor images = ctx.Input(i + ".images");
    MicroBatch at;
    at.count = 2;
    at.samples = {0, images.size(0)};
    at.batch = 2 * images.size(0);
    at.statistics = &recorder;
    model.train();
    model.Prepare(at);
    const torch::NoGradGuard no_grad;
    ctx.Output(i + ".logits", model.forward(images));
    for (size_t norm = 0; norm < recorder.seen.size(); ++norm) {
      ctx.Output(fmt::format("{}.seen.{}", i, norm), recorder.seen[norm]);
    }
    for (const auto& buffer : model.named_buffers()) ctx.Output(i + ".after." + buffer.key(), buffer.value());
  });
}

// Models that are not to be had. "<i>.refused": 0 not at all, 1 with UsageError, 2 with ContractError, 3 with another.
SHARDLAB_BODY(models_refuse) {
  ForEachCall(ctx, [&](const std::string& i, const nlohmann::json& call) {
    const ImageTraining plan = TrainingFrom(call);
    double refused = 0;
    try {
      MakeParallelModel(plan.model, plan.model_options, ctx.shared_comm());
    } catch (const NotImplemented&) {
      throw;
    } catch (const UsageError&) {
      refused = 1;
    } catch (const ContractError&) {
      refused = 2;
    } catch (const std::exception&) {
      refused = 3;
    }
    ctx.Number(i + ".refused", refused);
  });
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
