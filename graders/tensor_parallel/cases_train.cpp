#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <torch/torch.h>

#include "kit/equal_training.hpp"
#include "kit/image_training.hpp"
#include "kit/images.hpp"
#include "kit/traffic.hpp"
#include "kit/words.hpp"
#include "layer_calls.hpp"
#include "mistaken_models.hpp"
#include "shardlab/base/split.hpp"

// Part train: whole models on CIFAR-shaped images, held against the same model trained in one process.

namespace shardlab::grade {
namespace {

ImageTraining Plan(CaseContext& t, const std::string& model, int64_t steps) {
  ImageTraining plan;
  plan.model = model;
  plan.model_options.dtype = at::kDouble;
  plan.model_options.seed = t.seed() % 1000000;
  plan.model_options.hidden = {24, 16};
  plan.model_options.conv_channels = {4, 8};
  plan.model_options.dense = 16;
  plan.train_options.steps = steps;
  plan.train_options.recipe.learning_rate = 0.05;
  plan.train_options.recipe.momentum = 0.9;
  plan.batch = 16;
  return plan;
}

// Where the contract puts a parameter or a buffer of a model.
Placement PlacementOf(const std::string& name) {
  const auto dot = name.find('.');
  const std::string layer = name.substr(0, dot);
  const std::string what = name.substr(dot + 1);
  if (what == "num_batches_tracked") return {};
  const std::string kind = layer.substr(0, layer.find_first_of("0123456789"));
  if (kind == "conv" || kind == "bn" || layer == "fc") return {0};
  const bool by_columns = std::stoi(layer.substr(kind.size())) % 2 == 1;
  if (kind == "ln") return by_columns ? Placement{0} : Placement{};
  if (by_columns) return {0};
  return what == "weight" ? Placement{1} : Placement{};
}

RunSpec SpecOf(const std::string& body, const ImageTraining& plan, const Images& data) {
  RunSpec spec;
  spec.body = body;
  spec.params = plan.ToJson();
  spec.inputs = {{"images", {data.pixels}}, {"labels", {data.labels}}};
  spec.limit_s = 30;
  return spec;
}

// Holds what a rank has of a tensor of the model against the reference.
void ExpectPart(CaseContext& t, const Run& run, int rank, const std::string& output, const std::string& what,
                const std::string& name, const at::Tensor& full, double scale, double steps,
                const std::vector<MistakenRun>& mistakes = {}, std::vector<Hypothesis> of_part = {}) {
  const Placement placement = PlacementOf(name);
  const at::Tensor expected = placement.PartOf(full, t.ranks(), rank);
  if (expected.numel() == 0 && !run.Output(rank, output).defined()) return;
  Label label{fmt::format("{} `{}`", what, name), placement.OffsetOf(full, t.ranks(), rank)};
  if (!placement.IsWhole()) {
    for (int r = 0; r < t.ranks(); ++r) label.of_ranks.push_back(placement.PartOf(full, t.ranks(), r));
  }
  Append(label.hypotheses, std::move(of_part));
  for (const Hypothesis& of_full : For(output, mistakes)) {
    label.hypotheses.push_back(
        {of_full.meaning, [=, ranks = t.ranks()] { return placement.PartOf(of_full.value(), ranks, rank); }});
  }
  t.ExpectClose(run, rank, output, expected, label, scale, steps);
}

// Trains on the ranks and in one process, and compares every loss, every final parameter and every buffer.
void ExpectSameTraining(CaseContext& t, const ImageTraining& plan, int64_t count, const FaultSpec& faults = {}) {
  const Images data = DrawImages(t, count);
  RunSpec spec = SpecOf("train", plan, data);
  spec.faults = faults;
  const Run run = t.Launch(spec);

  const std::shared_ptr<ImageClassifier> model = MakeModel(plan.model, plan.model_options);
  const TrainResult reference = Train(
      *model, [&](int64_t step) { return plan.BatchOf(step, data.pixels, data.labels); }, plan.train_options);

  const auto steps = static_cast<size_t>(plan.train_options.steps);
  const std::vector<MistakenRun> mistakes = MistakenTrainings(plan, data.pixels, data.labels, t.ranks());
  for (int rank = 0; rank < t.ranks(); ++rank) {
    const std::vector<double> losses =
        LossesOf(t, run, rank, "losses", steps, fmt::format("rank {} does not return one loss for every step", rank));
    if (rank == 0) {
      ExpectLosses(t, fmt::format("{} on {}, {}", plan.model, Count(t.ranks(), "rank"), data.source), losses,
                   reference.losses, For("losses", mistakes));
      continue;
    }
    t.Expect(
        run.Output(rank, "losses").equal(run.Output(0, "losses")),
        fmt::format("rank {} has other losses than rank 0, and every rank computes the loss of the same whole logits",
                    rank));
  }

  const double scale = ScaleOf(reference.parameters);
  for (int rank = 0; rank < t.ranks(); ++rank) {
    for (const auto& [name, value] : reference.parameters) {
      ExpectPart(t, run, rank, "param." + name, "the final parameter", name, value, scale, static_cast<double>(steps),
                 mistakes);
      if (!PlacementOf(name).IsWhole() || !run.Output(rank, "param." + name).defined()) continue;
      t.Expect(at::equal(run.Output(rank, "param." + name), run.Output(0, "param." + name)),
               fmt::format("the replicated parameter `{}` has other bits on rank {} than on rank 0 after {} steps",
                           name, rank, steps));
    }
    for (const auto& [name, value] : reference.buffers) {
      if (name.find("num_batches_tracked") != std::string::npos) {
        // Module::to makes a floating number even of the counter; the layer's contract says int64.
        t.ExpectEqual(run, rank, "buffer." + name, value.to(at::kLong), {fmt::format("the buffer `{}`", name), {}});
      } else {
        ExpectPart(t, run, rank, "buffer." + name, "the buffer", name, value, scale, static_cast<double>(steps),
                   mistakes);
      }
    }
  }
}

// What a rank holds of a model before anything is learnt: every parameter and buffer by name, shape and bits.
void ExpectParts(CaseContext& t, const ImageTraining& plan) {
  RunSpec spec;
  spec.body = "model_parts";
  spec.params = plan.ToJson();
  const Run run = t.Launch(spec);
  const std::shared_ptr<ImageClassifier> model = MakeModel(plan.model, plan.model_options);
  const auto of_seed = [=](int rank, const std::string& name) {
    ModelOptions options = plan.model_options;
    options.seed += static_cast<uint64_t>(rank);
    return MakeModel(plan.model, options)->named_parameters()[name].detach();
  };
  for (int rank = 0; rank < t.ranks(); ++rank) {
    const auto part = [&t, rank](const Placement& placement, const at::Tensor& full) {
      return placement.PartOf(full, t.ranks(), rank);
    };
    for (const auto& parameter : model->named_parameters()) {
      const std::string& name = parameter.key();
      const at::Tensor full = parameter.value().detach();
      const Placement placement = PlacementOf(name);
      Label label{fmt::format("the parameter `{}` of {}", name, plan.model), placement.OffsetOf(full, t.ranks(), rank)};
      t.Expect(run.Output(rank, "param." + name).defined(),
               fmt::format("{} is missing on rank {}: layers are registered under the names of the full model",
                           label.what, rank));
      label.hypotheses = {{"it is drawn from another seed on every rank: all ranks cut their parts out of one model",
                           [=] { return part(placement, of_seed(rank, name)); }},
                          {"it is the whole: a rank keeps its part", [=] { return full; }}};
      for (int64_t dim = 0; dim < full.dim(); ++dim) {
        label.hypotheses.push_back({placement.IsWhole() ? "it is cut, and it stays whole on every rank"
                                                        : "it is cut along the other dimension",
                                    [=] { return part(Placement{dim}, full); }});
      }
      t.ExpectEqual(run, rank, "param." + name, placement.PartOf(full, t.ranks(), rank), label);
    }
    for (const auto& buffer : model->named_buffers()) {
      if (buffer.key().find("num_batches_tracked") != std::string::npos) continue;
      t.ExpectEqual(run, rank, "buffer." + buffer.key(), part(PlacementOf(buffer.key()), buffer.value()),
                    {fmt::format("the buffer `{}` of {}", buffer.key(), plan.model)});
    }
  }
}

// The gradient of a layer in front of conv2 when nobody adds up what the ranks' channels of conv2 say: one rank's.
at::Tensor GradientThroughOwnChannels(const ImageTraining& plan, const Batch& batch, int ranks, int rank,
                                      const std::string& name) {
  const auto model = std::dynamic_pointer_cast<LeNet>(MakeModel(plan.model, plan.model_options));
  if (!model || (name.rfind("conv1.", 0) != 0 && name.rfind("bn1.", 0) != 0)) return {};
  const auto pooled = [](const at::Tensor& h) { return at::max_pool2d(at::relu(h), 2); };
  at::Tensor h = model->conv1(batch.images);
  if (model->bn1) h = model->bn1(h);
  h = pooled(h);
  std::vector<at::Tensor> channels;
  for (int r = 0; r < ranks; ++r) {
    const at::Tensor all = model->conv2(r == rank ? h : h.detach());
    const Range own = SplitRange(all.size(1), ranks, r);
    channels.push_back(all.narrow(1, own.begin, own.size()));
  }
  h = at::cat(channels, 1);
  if (model->bn2) h = model->bn2(h);
  const at::Tensor logits = model->fc2(at::relu(model->fc1(pooled(h).flatten(1))));
  at::cross_entropy_loss(logits, batch.labels).backward();
  return model->named_parameters()[name].grad();
}

// The first step's logits and gradients.
void ExpectSameFirstStep(CaseContext& t, const ImageTraining& plan) {
  const Images data = DrawImages(t, plan.batch);
  const Run run = t.Launch(SpecOf("first_step", plan, data));

  const std::shared_ptr<ImageClassifier> model = MakeModel(plan.model, plan.model_options);
  const Batch batch = plan.BatchOf(0, data.pixels, data.labels);
  model->train();
  const at::Tensor logits = model->forward(batch.images);
  at::cross_entropy_loss(logits, batch.labels).backward();

  NamedTensors gradients;
  for (const auto& parameter : model->named_parameters())
    gradients.emplace_back(parameter.key(), parameter.value().grad());
  const double scale = ScaleOf(gradients);
  const std::vector<MistakenRun> mistakes = MistakenFirstSteps(plan, batch, t.ranks());
  for (int rank = 0; rank < t.ranks(); ++rank) {
    Label label{"the logits of " + plan.model};
    label.hypotheses = For("logits", mistakes);
    t.ExpectClose(run, rank, "logits", logits.detach(), label);
    for (const auto& parameter : model->named_parameters()) {
      const std::string& name = parameter.key();
      ExpectPart(t, run, rank, "param." + name, "the parameter", name, parameter.value().detach(), 1, 1);
      ExpectPart(t, run, rank, "grad." + name, fmt::format("{}: the gradient of", plan.model), name,
                 parameter.value().grad(), scale, 1, {},
                 {{"it comes from this rank's channels of conv2 alone: the ranks' gradients must be added up (a door "
                   "in front of the convolution)",
                   [=, &t, &batch, &plan] {
                     const at::Tensor full = GradientThroughOwnChannels(plan, batch, t.ranks(), rank, name);
                     return full.defined() ? PlacementOf(name).PartOf(full, t.ranks(), rank) : full;
                   }}});
      if (!PlacementOf(name).IsWhole() || !run.Output(rank, "grad." + name).defined()) continue;
      t.Expect(at::equal(run.Output(rank, "grad." + name), run.Output(0, "grad." + name)),
               fmt::format("{}: the gradient of the replicated `{}` has other bits on rank {} than on rank 0",
                           plan.model, name, rank));
    }
  }
  model->eval();
  const torch::NoGradGuard no_grad;
  const at::Tensor evaluated = model->forward(batch.images);
  for (int rank = 0; rank < t.ranks(); ++rank) {
    Label label{"the logits of " + plan.model + " in evaluation"};
    label.hypotheses = For("evaluated", mistakes);
    t.ExpectClose(run, rank, "evaluated", evaluated, label);
  }
}

}  // namespace

// ------------------------------------------------------------------------------------------------ values

SHARDLAB_CASE(train, parts_of_every_model, kValue, {2, 3, 4}) {
  for (const std::string& model : ModelNames()) ExpectParts(t, Plan(t, model, 1));
}

SHARDLAB_CASE(train, curve_of_an_mlp, kValue, {1, 2, 4}) { ExpectSameTraining(t, Plan(t, "mlp", 25), 100); }
SHARDLAB_CASE(train, curve_of_an_mlp_with_layer_norm, kValue, {2, 3, 4}) {
  ExpectSameTraining(t, Plan(t, "mlp-ln", 25), 100);
}
SHARDLAB_CASE(train, curve_of_a_cnn_with_batch_norm, kValue, {2, 3}) {
  ExpectSameTraining(t, Plan(t, "cnn-bn", 14), 100);
}

// ------------------------------------------------------------------------------------------------ gradients

SHARDLAB_CASE(train, first_step_of_an_mlp, kGradient, {1, 2, 3, 4}) { ExpectSameFirstStep(t, Plan(t, "mlp", 1)); }
SHARDLAB_CASE(train, first_step_of_an_mlp_with_layer_norm, kGradient, {2, 4}) {
  ExpectSameFirstStep(t, Plan(t, "mlp-ln", 1));
}
SHARDLAB_CASE(train, first_step_of_a_cnn, kGradient, {2, 3}) { ExpectSameFirstStep(t, Plan(t, "cnn", 1)); }
SHARDLAB_CASE(train, first_step_of_a_cnn_with_batch_norm, kGradient, {2, 4}) {
  ExpectSameFirstStep(t, Plan(t, "cnn-bn", 1));
}

// ------------------------------------------------------------------------------------------------ costs

// Three dense layers: column, row, column and gather. Two sharded numbers a row for ln1.
SHARDLAB_CASE(train, communication_of_an_mlp_with_layer_norm, kCost, {2, 3, 4}) {
  const ImageTraining plan = Plan(t, "mlp-ln", 1);
  const Run run = t.Launch(SpecOf("first_step", plan, DrawImages(t, plan.batch)));
  const int64_t B = plan.batch;
  const int64_t H2 = plan.model_options.hidden[1];
  ExpectCollectives(t, run, "backward of mlp-ln", "backward", "end", [&](int) {
    return std::vector<Collective>{{OpKind::kAllReduce, B * H2}, {OpKind::kAllReduce, 2 * B}};
  });
  ExpectCollectives(
      t, run, "forward of mlp-ln", "forward", "backward",
      [&](int rank) {
        return std::vector<Collective>{{OpKind::kAllGather, 2 * B},
                                       {OpKind::kAllReduce, B * H2},
                                       {OpKind::kAllGather, B * SplitRange(10, t.ranks(), rank).size()}};
      },
      /*any_kind=*/true);
}

SHARDLAB_CASE(train, communication_of_a_cnn_with_batch_norm, kCost, {2, 3}) {
  const ImageTraining plan = Plan(t, "cnn-bn", 1);
  const Run run = t.Launch(SpecOf("first_step", plan, DrawImages(t, plan.batch)));
  const int64_t B = plan.batch;
  const std::vector<int64_t>& channels = plan.model_options.conv_channels;
  ExpectCollectives(t, run, "backward of cnn-bn", "backward", "end", [&](int) {
    return std::vector<Collective>{{OpKind::kAllReduce, B * channels[1] * 8 * 8},
                                   {OpKind::kAllReduce, B * channels[0] * 16 * 16}};
  });
  ExpectCollectives(t, run, "forward of cnn-bn", "forward", "backward", [&](int rank) {
    const auto part = [&](int64_t size) { return SplitRange(size, t.ranks(), rank).size(); };
    return std::vector<Collective>{{OpKind::kAllGather, B * part(channels[0]) * 16 * 16},
                                   {OpKind::kAllGather, B * part(channels[1]) * 8 * 8},
                                   {OpKind::kAllReduce, B * 10}};
  });
}

// ------------------------------------------------------------------------------------------------ robustness

SHARDLAB_CASE(train, odd_widths, kRobustness, {2, 3, 4}) {
  ImageTraining plan = Plan(t, "mlp-ln", 6);
  plan.model_options.hidden = {7, 5, 3};
  ExpectSameTraining(t, plan, 21);
}

SHARDLAB_CASE(train, adam_without_hidden_layers, kRobustness, {3}) {
  ImageTraining plan = Plan(t, "linear", 6);
  plan.train_options.recipe.optimizer = OptimizerKind::kAdam;
  plan.train_options.recipe.learning_rate = 1e-3;
  ExpectSameTraining(t, plan, 40);
}

SHARDLAB_CASE(train, more_ranks_than_channels, kRobustness, {4}) {
  for (const std::string model : {"cnn", "cnn-bn"}) {
    ImageTraining plan = Plan(t, model, 4);
    plan.model_options.conv_channels = {3, 5};
    plan.model_options.dense = 3;
    plan.train_options.recipe.weight_decay = 1e-3;
    ExpectSameTraining(t, plan, 24);
  }
}

// Where a pipeline can cut the model every rank hands on the same.
SHARDLAB_CASE(train, whole_between_layers, kRobustness, {2, 4}) {
  for (const auto& [model, layers] : std::vector<std::pair<std::string, int>>{{"mlp-ln", 2}, {"cnn-bn", 3}}) {
    ImageTraining plan = Plan(t, model, 1);
    const Run run = t.Launch(SpecOf("first_step", plan, DrawImages(t, plan.batch)));
    for (int rank = 0; rank < t.ranks(); ++rank) {
      t.Expect(run.Number(rank, "layers") == layers,
               fmt::format("{} is a sequence of {} layers: one for each convolution and one for each pair of dense "
                           "layers; here rank {} has {}",
                           model, layers, rank, run.Number(rank, "layers")));
      for (int layer = 1; layer < layers; ++layer) {
        const std::string behind = "behind " + std::to_string(layer);
        const at::Tensor mine = run.Output(rank, behind), first = run.Output(0, behind);
        t.Expect(
            mine.defined() && first.defined() && mine.sizes() == first.sizes() && at::equal(mine, first),
            fmt::format("behind layer {} of {} rank {} holds something else than rank 0: between two layers tensors "
                        "are whole, with the same bits on every rank",
                        layer, model, rank));
      }
    }
  }
}

SHARDLAB_CASE(train, late_messages, kRobustness, {3}) {
  ExpectSameTraining(t, Plan(t, "mlp-ln", 5), 40, LateMessages(t, 0.002));
}

}  // namespace shardlab::grade
