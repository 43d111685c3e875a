#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/torch.h>

#include "kit/equal_training.hpp"
#include "kit/image_training.hpp"
#include "kit/images.hpp"
#include "kit/traffic.hpp"
#include "kit/words.hpp"
#include "layer_calls.hpp"
#include "mistaken_models.hpp"
#include "model_calls.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/models/sequences.hpp"

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

// Which layers of the model each of the sequence's joins: a convolution with what follows it, or a pair of dense layers.
std::vector<std::vector<std::string>> JoinsOf(const ImageTraining& plan) {
  std::vector<std::vector<std::string>> joins;
  for (const LayerSpec& spec : MakeSequence(plan.model, plan.model_options)) {
    const size_t digit = spec.name.find_first_of("0123456789");
    const std::string kind = spec.name.substr(0, digit);
    const bool opens =
        kind == "conv" || (kind == "fc" && (digit == std::string::npos || std::stoi(spec.name.substr(digit)) % 2 == 1));
    if (opens) joins.emplace_back();
    joins.back().push_back(spec.name);
  }
  return joins;
}

// Models, and what a rank holds of them before anything is learnt.
class Models {
 public:
  explicit Models(CaseContext& t) : t_(t) { spec_.body = "model_parts"; }

  void Add(const ImageTraining& plan, std::string what = "") {
    nlohmann::json params = JsonOf(plan);
    params["what"] = what.empty() ? plan.model : what;
    spec_.params["calls"].push_back(params);
    plans_.push_back(plan);
    what_.push_back(params["what"]);
  }

  // With a forward in training, to which the images are given.
  void AddForward(const ImageTraining& plan, const std::string& what = "") {
    const ModelOptions& options = plan.model_options;
    images_.resize(plans_.size());
    images_.push_back(t_.Normal({6, options.channels, options.side, options.side}, options.dtype));
    spec_.inputs[fmt::format("{}.images", plans_.size())] = {images_.back()};
    Add(plan, what);
  }

  Run Launch() { return t_.Launch(spec_); }

  // Every parameter and buffer by name, shape and bits.
  void ExpectParts(const Run& run) const {
    for (size_t m = 0; m < plans_.size(); ++m) {
      for (int rank = 0; rank < t_.ranks(); ++rank) {
        ExpectPartsOf(run, m, rank);
        ExpectJoins(run, m, rank);
      }
    }
  }

  // A layer is made without the other ranks, as often as somebody asks, and keeps its part alone.
  void ExpectMaking(const Run& run) const {
    for (size_t m = 0; m < plans_.size(); ++m) {
      const std::string i = std::to_string(m);
      const std::shared_ptr<ImageClassifier> model = MakeModel(plans_[m].model, plans_[m].model_options);
      for (int rank = 0; rank < t_.ranks(); ++rank) {
        int64_t own = 0;
        const auto count = [&](const auto& named) {
          for (const auto& item : named) {
            own += PlacementOf(item.key()).PartOf(item.value().detach(), t_.ranks(), rank).nbytes();
          }
        };
        count(model->named_parameters());
        count(model->named_buffers());
        for (const auto& parameter : model->named_parameters()) {
          const double again = run.Number(rank, i + ".again." + parameter.key());
          const std::string which =
              fmt::format("the layers of {} are made twice on rank {}, and `{}`", what_[m], rank, parameter.key());
          t_.Expect(again != 1, which +
                                    " of both is one tensor: each is made anew, since a rank may hold several "
                                    "versions of its weights");
          t_.Expect(again == 0, which + " differs: it is a function of the seed and its name");
        }
        const double in_specs = run.Number(rank, i + ".in_specs");
        t_.Expect(
            in_specs <= kSmallBytes,
            fmt::format("MakeParallelModel ({}) holds {:.0f} bytes on rank {} before a layer is made: a LayerSpec "
                        "says how to make a layer and holds no weights",
                        what_[m], in_specs, rank));
        const double kept = run.Number(rank, i + ".kept");
        t_.Expect(kept <= static_cast<double>(own) + kSmallBytes,
                  fmt::format("the layers of {} keep {:.0f} bytes on rank {}, and its parts have {}: the full layers "
                              "that they were cut out of are still alive",
                              what_[m], kept, rank, own));
      }
      ExpectCollectives(t_, run, "making the layers of " + what_[m], "make " + i, "made " + i, NoCollectives);
    }
  }

  // The logits of the forwards, and that the norms leave their statistics to whoever is told of them.
  void ExpectForward(const Run& run) const {
    for (size_t m = 0; m < images_.size(); ++m) {
      if (!images_[m].defined()) continue;
      const std::string i = std::to_string(m);
      const std::shared_ptr<ImageClassifier> model = MakeModel(plans_[m].model, plans_[m].model_options);
      const auto buffers = model->named_buffers().pairs();
      std::vector<at::Tensor> untouched;
      for (const auto& [name, buffer] : buffers) untouched.push_back(buffer.clone());
      model->train();
      const torch::NoGradGuard no_grad;
      const at::Tensor logits = model->forward(images_[m]);
      const double steps = logits.scalar_type() == at::kFloat ? 1e6 : 1;  // 1e-4 of the norm
      for (int rank = 0; rank < t_.ranks(); ++rank) {
        t_.ExpectClose(run, rank, i + ".logits", logits, {"the logits of " + what_[m]}, 0, steps);
        for (size_t b = 0; b < buffers.size(); ++b) {
          const std::string& name = buffers[b].first;
          const at::Tensor part = PlacementOf(name).PartOf(untouched[b], t_.ranks(), rank);
          const at::Tensor now = run.Output(rank, i + ".after." + name);
          t_.Expect(now.defined() && now.sizes() == part.sizes() && at::equal(now, part),
                    fmt::format("a micro-batch moves the buffer `{}` of {} on rank {} although its "
                                "MicroBatch::statistics names who keeps it: the norm is not given the MicroBatch that "
                                "its layer is",
                                name, what_[m], rank));
        }
        for (size_t norm = 0; norm < buffers.size() / 3; ++norm) {
          t_.Expect(run.Output(rank, fmt::format("{}.seen.{}", i, norm)).defined(),
                    fmt::format("BatchNorm number {} of {} hands nothing to MicroBatch::statistics on rank {}",
                                norm + 1, what_[m], rank));
        }
      }
    }
  }

 private:
  static constexpr double kSmallBytes = 4096;

  void ExpectJoins(const Run& run, size_t m, int rank) const {
    const std::string i = std::to_string(m);
    const std::vector<std::vector<std::string>> joins = JoinsOf(plans_[m]);
    t_.Expect(run.Number(rank, i + ".layers") == static_cast<double>(joins.size()),
              fmt::format("{} is a sequence of {}: one for each convolution and one for each pair of dense layers; "
                          "here rank {} has {}",
                          what_[m], Count(static_cast<int64_t>(joins.size()), "layer"), rank,
                          run.Number(rank, i + ".layers")));
    for (size_t layer = 0; layer < joins.size(); ++layer) {
      std::vector<std::string> got;
      const std::string prefix = fmt::format("{}.joins.{}.", i, layer);
      for (const auto& [name, frame] : run.outcome.ranks[static_cast<size_t>(rank)].outputs) {
        if (name.rfind(prefix, 0) == 0) got.push_back(name.substr(prefix.size()));
      }
      std::vector<std::string> right = joins[layer];
      std::sort(right.begin(), right.end());
      std::sort(got.begin(), got.end());
      t_.Expect(got == right,
                fmt::format("layer {} of {} joins [{}] on rank {}, and [{}] is right: LayerSpec::joins "
                            "names every layer that is in it",
                            layer + 1, what_[m], fmt::join(got, " "), rank, fmt::join(joins[layer], " ")));
    }
  }

  void ExpectPartsOf(const Run& run, size_t m, int rank) const {
    const ImageTraining& plan = plans_[m];
    const int ranks = t_.ranks();
    const std::string of_call = std::to_string(m) + ".";
    const std::shared_ptr<ImageClassifier> model = MakeModel(plan.model, plan.model_options);
    const auto of_seed = [=](const std::string& name) {
      ModelOptions options = plan.model_options;
      options.seed += static_cast<uint64_t>(rank);
      return MakeModel(plan.model, options)->named_parameters()[name].detach();
    };
    const auto part = [=](const Placement& placement, const at::Tensor& full) {
      return placement.PartOf(full, ranks, rank);
    };
    for (const auto& parameter : model->named_parameters()) {
      const std::string& name = parameter.key();
      const at::Tensor full = parameter.value().detach();
      const Placement placement = PlacementOf(name);
      Label label{fmt::format("the parameter `{}` of {}", name, what_[m]), placement.OffsetOf(full, ranks, rank)};
      t_.Expect(run.Output(rank, of_call + "param." + name).defined(),
                fmt::format("{} is missing on rank {}: layers are registered under the names of the full model",
                            label.what, rank));
      label.hypotheses = {{"it is drawn from another seed on every rank: all ranks cut their parts out of one model",
                           [=] { return part(placement, of_seed(name)); }},
                          {"it is the whole: a rank keeps its part", [=] { return full; }}};
      for (int64_t dim = 0; dim < full.dim(); ++dim) {
        label.hypotheses.push_back({placement.IsWhole() ? "it is cut, and it stays whole on every rank"
                                                        : "it is cut along the other dimension",
                                    [=] { return part(Placement{dim}, full); }});
      }
      t_.ExpectEqual(run, rank, of_call + "param." + name, part(placement, full), label);
    }
    for (const auto& buffer : model->named_buffers()) {
      if (buffer.key().find("num_batches_tracked") != std::string::npos) continue;
      t_.ExpectEqual(run, rank, of_call + "buffer." + buffer.key(), part(PlacementOf(buffer.key()), buffer.value()),
                     {fmt::format("the buffer `{}` of {}", buffer.key(), what_[m])});
    }
  }

  CaseContext& t_;
  RunSpec spec_;
  std::vector<ImageTraining> plans_;
  std::vector<std::string> what_;
  std::vector<at::Tensor> images_;  // of the first plans; undefined: without a forward
};

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
  Models models(t);
  for (const std::string& model : ModelNames()) models.Add(Plan(t, model, 1));
  models.ExpectParts(models.Launch());
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

void ExpectCommunicationOfConvolutions(CaseContext& t, const std::string& model) {
  const ImageTraining plan = Plan(t, model, 1);
  const Run run = t.Launch(SpecOf("first_step", plan, DrawImages(t, plan.batch)));
  const int64_t B = plan.batch;
  const std::vector<int64_t>& channels = plan.model_options.conv_channels;
  ExpectCollectives(t, run, "backward of " + model, "backward", "end", [&](int) {
    return std::vector<Collective>{{OpKind::kAllReduce, B * channels[1] * 8 * 8},
                                   {OpKind::kAllReduce, B * channels[0] * 16 * 16}};
  });
  ExpectCollectives(t, run, "forward of " + model, "forward", "backward", [&](int rank) {
    const auto part = [&](int64_t size) { return SplitRange(size, t.ranks(), rank).size(); };
    return std::vector<Collective>{{OpKind::kAllGather, B * part(channels[0]) * 16 * 16},
                                   {OpKind::kAllGather, B * part(channels[1]) * 8 * 8},
                                   {OpKind::kAllReduce, B * 10}};
  });
}

SHARDLAB_CASE(train, communication_of_a_cnn_with_batch_norm, kCost, {2, 3}) {
  ExpectCommunicationOfConvolutions(t, "cnn-bn");
}

SHARDLAB_CASE(train, communication_of_the_other_models, kCost, {2}) {
  for (const std::string model : {"linear", "mlp"}) {
    const ImageTraining plan = Plan(t, model, 1);
    const Run run = t.Launch(SpecOf("first_step", plan, DrawImages(t, plan.batch)));
    const int64_t B = plan.batch;
    const std::vector<Collective> between = {{OpKind::kAllReduce, B * plan.model_options.hidden[1]}};
    ExpectCollectives(t, run, "backward of " + model, "backward", "end",
                      [&](int) { return model == "mlp" ? between : std::vector<Collective>(); });
    ExpectCollectives(t, run, "forward of " + model, "forward", "backward", [&](int rank) {
      std::vector<Collective> all = model == "mlp" ? between : std::vector<Collective>();
      all.push_back({OpKind::kAllGather, B * SplitRange(10, t.ranks(), rank).size()});
      return all;
    });
  }
  ExpectCommunicationOfConvolutions(t, "cnn");
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

// Where a pipeline can cut the model every rank hands on the same, and what the model of one process has there.
SHARDLAB_CASE(train, whole_between_layers, kRobustness, {2, 4}) {
  for (const std::string model : {"mlp", "mlp-ln", "cnn-bn"}) {
    const ImageTraining plan = Plan(t, model, 1);
    const Images data = DrawImages(t, plan.batch);
    const Run run = t.Launch(SpecOf("first_step", plan, data));
    SequenceClassifier one_process(MakeSequence(model, plan.model_options));
    one_process.train();
    Skips skips;
    at::Tensor h = plan.BatchOf(0, data.pixels, data.labels).images;
    size_t begin = 0;
    const std::vector<std::vector<std::string>> joins = JoinsOf(plan);
    for (size_t layer = 0; layer + 1 < joins.size(); ++layer) {
      const size_t end = begin + joins[layer].size();
      h = one_process.Run(begin, end, {h}, skips).at(0).detach();
      begin = end;
      const std::string behind = fmt::format("behind {}", layer + 1);
      for (int rank = 0; rank < t.ranks(); ++rank) {
        const at::Tensor got = run.Output(rank, behind);
        t.Expect(got.defined() && got.sizes() == h.sizes(),
                 fmt::format("behind layer {} of {} rank {} holds {}, and {} is right: between two layers tensors are "
                             "whole, with the same bits on every rank",
                             layer + 1, model, rank, got.defined() ? ShapeName(got.sizes().vec()) : "nothing",
                             ShapeName(h.sizes().vec())));
        t.Expect(
            model != "mlp" || !got.defined() || got.min().item<double>() >= 0,
            fmt::format("behind layer {} of {} there is a negative number on rank {}: the ReLU belongs to the layer "
                        "that it follows",
                        layer + 1, model, rank));
        t.ExpectClose(run, rank, behind, h, {fmt::format("what lies behind layer {} of {}", layer + 1, model)});
        t.Expect(at::equal(run.Output(rank, behind), run.Output(0, behind)),
                 fmt::format("behind layer {} of {} rank {} holds something else than rank 0: between two layers "
                             "tensors are whole, with the same bits on every rank",
                             layer + 1, model, rank));
      }
    }
  }
}

SHARDLAB_CASE(train, layers_are_made_of_the_seed_alone, kRobustness, {2}) {
  Models models(t);
  models.AddForward(Plan(t, "cnn-bn", 1));
  ImageTraining in_float32 = Plan(t, "cnn-bn", 1);
  in_float32.model_options.dtype = at::kFloat;
  models.AddForward(in_float32, "cnn-bn, float32");
  ImageTraining small = Plan(t, "mlp-ln", 1);
  small.model_options.hidden = {};
  small.model_options.classes = 7;
  small.model_options.side = 8;
  small.model_options.channels = 1;
  models.AddForward(small, "mlp-ln without a hidden layer, 7 classes");
  models.AddForward(Plan(t, "mlp-ln", 1));
  const Run run = models.Launch();
  models.ExpectParts(run);
  models.ExpectMaking(run);
  models.ExpectForward(run);
}

SHARDLAB_CASE(train, refuses_models_that_there_are_not, kRobustness, {2}) {
  RunSpec spec;
  spec.body = "models_refuse";
  std::vector<std::string> what;
  std::vector<std::string> error;
  const auto add = [&](const std::string& words, const ImageTraining& plan, const std::string& throws) {
    nlohmann::json params = JsonOf(plan);
    params["what"] = words;
    spec.params["calls"].push_back(params);
    what.push_back(words);
    error.push_back(throws);
  };
  add("the name 'mlq'", Plan(t, "mlq", 1), "UsageError");
  ImageTraining plan = Plan(t, "mlp", 1);
  plan.model_options.hidden = {4, 0};
  add("a hidden layer of 0 features", plan, "ContractError");
  plan = Plan(t, "cnn", 1);
  plan.model_options.conv_channels = {4};
  add("one convolution", plan, "ContractError");
  const Run run = t.Launch(spec);
  for (size_t i = 0; i < what.size(); ++i) {
    for (int rank = 0; rank < t.ranks(); ++rank) {
      const double refused = run.Number(rank, fmt::format("{}.refused", i));
      t.Expect(refused == (error[i] == "UsageError" ? 1 : 2),
               fmt::format("MakeParallelModel {} when it was given {}: it must throw {}, as MakeSequence does",
                           refused == 0 ? "returned" : "threw something else", what[i], error[i]));
    }
  }
}

SHARDLAB_CASE(train, late_messages, kRobustness, {3}) {
  ExpectSameTraining(t, Plan(t, "mlp-ln", 5), 40, LateMessages(t, 0.002));
}

}  // namespace shardlab::grade
