#include <algorithm>
#include <numeric>

#include <fmt/format.h>
#include <torch/torch.h>

#include "kit/traffic.hpp"
#include "oracle.hpp"

// Part train: whole training runs on CIFAR-shaped images, and what surrounds a step.

namespace shardlab::grade {
namespace {

TrainingPlan OnCifar(CaseContext& t, const std::string& model, const std::vector<int64_t>& batches) {
  TrainingPlan plan = PlanFor(t, model, "gpipe", 4, batches);
  plan.learning_rate = 0.05;
  plan.momentum = 0.9;
  return plan;
}

// Running statistics of the body's norms by the definition.
void ExpectDeferred(CaseContext& t, const std::vector<int64_t>& shape_behind, double offset, bool again) {
  const std::vector<int64_t> batches = {10, 9, 4};
  const int64_t all = std::accumulate(batches.begin(), batches.end(), int64_t{0});
  std::vector<int64_t> shape = {all, 3};
  shape.insert(shape.end(), shape_behind.begin(), shape_behind.end());
  const at::Tensor x = t.Normal(shape) + offset;
  RunSpec spec;
  spec.body = "deferred";
  spec.params = {{"batches", batches}, {"microbatches", 4}, {"again", again}};
  spec.inputs = {{"x", {x}}};
  const Run run = t.Launch(spec);
  at::Tensor mean = at::zeros({3}, at::kDouble), var = at::ones({3}, at::kDouble), other = at::zeros({3}, at::kDouble);
  at::Tensor per_piece = at::zeros({3}, at::kDouble), of_variances = at::ones({3}, at::kDouble);
  at::Tensor unused = at::ones({3}, at::kDouble);
  at::Tensor of_means = at::zeros({3}, at::kDouble), biased = at::ones({3}, at::kDouble);
  at::Tensor of_halves = at::zeros({3}, at::kDouble);
  at::Tensor last_mean = at::zeros({3}, at::kDouble), last_var = at::ones({3}, at::kDouble);
  int64_t begin = 0;
  for (const int64_t samples : batches) {
    const at::Tensor batch = x.narrow(0, begin, samples);
    at::batch_norm(batch, {}, {}, mean, var, true, 0.1, 1e-5, false);
    at::batch_norm(batch, {}, {}, other, unused, true, 0.3, 1e-5, false);
    at::Tensor mean_of_vars = at::zeros({3}, at::kDouble), mean_of_means = at::zeros({3}, at::kDouble);
    at::Tensor halves;
    const int64_t m = std::min<int64_t>(4, samples);
    for (int64_t i = 0, at = 0; i < m; ++i) {
      const int64_t n = samples / m + (i < samples % m ? 1 : 0);
      const at::Tensor piece = batch.narrow(0, at, n);
      at::batch_norm(piece, {}, {}, per_piece, unused, true, 0.1, 1e-5, false);
      const at::Tensor flat = piece.transpose(0, 1).flatten(1);
      if (flat.size(1) > 1) mean_of_vars += flat.var(1, true) / static_cast<double>(m);
      mean_of_means += flat.mean(1) / static_cast<double>(m);
      halves = i == 0 ? flat.mean(1) : (halves + flat.mean(1)) / 2;
      if (i + 1 == m) {
        last_mean = last_mean * 0.9 + flat.mean(1) * 0.1;
        last_var = last_var * 0.9 + flat.var(1, flat.size(1) > 1) * 0.1;
      }
      at += n;
    }
    of_variances = of_variances * 0.9 + mean_of_vars * 0.1;
    of_means = of_means * 0.9 + mean_of_means * 0.1;
    of_halves = of_halves * 0.9 + halves * 0.1;
    biased = biased * 0.9 + batch.transpose(0, 1).flatten(1).var(1, false) * 0.1;
    begin += samples;
  }
  Label label{"the running mean after three mini-batches"};
  label.hypotheses = {
      {"the running statistics are updated at every micro-batch, not once a mini-batch", [=] { return per_piece; }},
      {EqualWeights("micro-batch"), [=] { return of_means; }},
      {"the joined mean is the middle of two means, however many values each of them stands for",
       [=] { return of_halves; }},
      {"only the last micro-batch of each mini-batch counts", [=] { return last_mean; }}};
  t.ExpectClose(run, 0, "mean", mean, label);
  label = {"the running variance after three mini-batches"};
  label.hypotheses = {{"the mean of the micro-batches' variances is taken for the variance of the mini-batch",
                       [=] { return of_variances; }},
                      {"the sum of squared differences is divided by N, and not by N - 1", [=] { return biased; }},
                      {"only the last micro-batch of each mini-batch counts", [=] { return last_var; }}};
  t.ExpectClose(run, 0, "var", var, label);
  t.ExpectClose(run, 0, "other", other, {"the running mean of a second norm, whose momentum is 0.3"});
  t.ExpectEqual(run, 0, "count", at::full({}, 3, at::kLong), {"num_batches_tracked after three mini-batches"});
}

// What ClipGradients makes of gradients [rank][i], whose norm is multiplied with `room` to get the largest.
// With `copies` the gradients lie there so many times, each on a rank of its own, and count once.
// `strided`: they lie column by column in memory.
void ExpectClipped(CaseContext& t, const std::vector<std::vector<at::Tensor>>& gradients, double room, int copies = 1,
                   bool strided = false) {
  const auto norm_of = [](const std::vector<at::Tensor>& some) {
    double squares = 0;
    for (const at::Tensor& gradient : some) squares += gradient.to(at::kDouble).square().sum().item<double>();
    return std::sqrt(squares);
  };
  std::vector<double> norms;
  std::vector<at::Tensor> all;
  for (const auto& of_rank : gradients) {
    norms.push_back(norm_of(of_rank));
    all.insert(all.end(), of_rank.begin(), of_rank.end());
  }
  const double of_all = norm_of(all);
  const double norm = of_all / std::sqrt(copies);
  const double max_norm = norm > 0 ? room * norm : 1;
  const auto scaled = [max_norm](const at::Tensor& gradient, double by) {
    return gradient * std::min(1.0, max_norm / (by + 1e-6));
  };
  RunSpec spec;
  spec.body = "clip";
  spec.params = {{"max_norm", max_norm}, {"copies", copies}, {"strided", strided}};
  for (size_t rank = 0; rank < gradients.size(); ++rank) {
    for (size_t i = 0; i < gradients[rank].size(); ++i) {
      auto& input = spec.inputs["gradient " + std::to_string(i)];
      input.resize(gradients.size());
      input[rank] = gradients[rank][i];
    }
  }
  const Run run = t.Launch(spec);
  for (int rank = 0; rank < t.ranks(); ++rank) {
    const auto& mine = gradients[static_cast<size_t>(rank)];
    for (size_t i = 0; i < mine.size(); ++i) {
      Label label{fmt::format("gradient {} of a rank with {}, clipped to {:.3g} where the norm of all is {:.3g}", i,
                              mine.size(), max_norm, norm)};
      label.hypotheses = {
          {"each rank clips by the norm of its own gradients",
           [=] { return scaled(mine[i], norms[static_cast<size_t>(rank)]); }},
          {"the norms of the ranks are added up; it is their squares that add up",
           [=] { return scaled(mine[i], std::accumulate(norms.begin(), norms.end(), 0.0)); }},
          {"every gradient is clipped by its own norm", [=] { return scaled(mine[i], norm_of({mine[i]})); }},
          {"gradients that are small enough are made larger", [=] { return mine[i] * (max_norm / (norm + 1e-6)); }},
          {"every copy of a gradient counts in full; all copies together must count once",
           [=] { return scaled(mine[i], of_all); }}};
      t.ExpectClose(run, rank, "clipped " + std::to_string(i), scaled(mine[i], norm), label, 0,
                    mine[i].scalar_type() == at::kDouble  ? 1
                    : mine[i].scalar_type() == at::kFloat ? 1e4
                                                          : 1e8);
    }
    t.ExpectClose(run, rank, "norm", at::full({}, norm, at::kDouble), {"the norm that ClipGradients returns"});
    t.ExpectCost(fmt::format("collectives of rank {}", rank), static_cast<double>(run.Cost(rank).collectives), 1,
                 "collectives");
    t.ExpectCost(fmt::format("bytes that rank {} hands to it: one float64", rank),
                 static_cast<double>(run.Cost(rank).collective_bytes), 8, "bytes",
                 {{"a float32 is reduced, whose squares overflow", 4}});
    t.ExpectCost(fmt::format("other messages of rank {}", rank), static_cast<double>(run.Cost(rank).messages), 0,
                 "messages");
  }
}

}  // namespace

SHARDLAB_CASE(train, curve_of_a_cnn_with_batch_norm, kValue, {1, 2, 4}) {
  const TrainingPlan plan = OnCifar(t, "cnn-bn", std::vector<int64_t>(10, 12));
  ExpectTraining(t, plan, DrawCifar(t, plan));
}

SHARDLAB_CASE(train, curve_of_an_mlp, kValue, {3, 4}) {
  const TrainingPlan plan = OnCifar(t, "mlp-ln", std::vector<int64_t>(20, 14));
  ExpectTraining(t, plan, DrawCifar(t, plan));
}

SHARDLAB_CASE(train, running_statistics_of_whole_mini_batches, kValue, {1}) {
  ExpectDeferred(t, {2, 2}, 0.5, false);
  ExpectDeferred(t, {}, 0, false);
}

SHARDLAB_CASE(train, clipped_by_the_norm_of_all_ranks, kValue, {1, 2, 3}) {
  std::vector<std::vector<at::Tensor>> gradients;
  for (int rank = 0; rank < t.ranks(); ++rank) gradients.push_back({t.Normal({3, 2}) * (rank + 1), t.Normal({4})});
  ExpectClipped(t, gradients, 0.5);
  ExpectClipped(t, gradients, 2);
  const std::vector<std::vector<at::Tensor>> alike(gradients.size(), gradients[0]);
  ExpectClipped(t, alike, 0.5, t.ranks());
}

SHARDLAB_CASE(train, clipping_odd_gradients, kRobustness, {2, 3}) {
  std::vector<std::vector<at::Tensor>> gradients(static_cast<size_t>(t.ranks()));  // the last rank has none
  gradients[0] = {t.Normal({2, 2}, at::kFloat) * 1e20, t.Normal({0, 3}), t.Normal({}).add_(2)};
  ExpectClipped(t, gradients, 0.1);
  gradients[0] = {at::zeros({3}, at::kDouble)};
  ExpectClipped(t, gradients, 1);
  gradients[0] = {t.Normal({4, 3, 2}), t.Normal({5, 5}).to(at::kBFloat16)};
  ExpectClipped(t, gradients, 0.5, 1, true);
}

SHARDLAB_CASE(train, gradients_with_dropout, kGradient, {2, 4}) {
  const TrainingPlan plan = PlanFor(t, "transformer-2-8", "gpipe", 3, {7});
  ExpectGradients(t, plan, DrawData(t, plan));
}

SHARDLAB_CASE(train, gradients_with_deferred_statistics, kGradient, {2}) {
  TrainingPlan plan = PlanFor(t, "cnn-bn", "gpipe", 3, {7});
  plan.deferred = true;
  ExpectGradients(t, plan, DrawData(t, plan));
}

SHARDLAB_CASE(train, an_evaluation_sends_activations_only, kCost, {3}) {
  TrainingPlan plan = PlanFor(t, "probe", "gpipe", 4, {8, 8});
  plan.evaluate = 8;
  const Run run = ExpectTraining(t, plan, DrawData(t, plan));
  const Traffic traffic = TotalTraffic(run, "evaluation 1", "end");
  t.ExpectCost("messages of all ranks in an evaluation: m(P-1)", static_cast<double>(traffic.messages),
               4 * (t.ranks() - 1), "messages");
  t.ExpectCost("collectives in an evaluation", static_cast<double>(traffic.collectives.size()), 0, "collectives");
}

// Two pipelines whose layers are split between them: of each gradient one number, the sum of squares, is of both.
SHARDLAB_CASE(train, clipped_by_the_norm_of_two_pipelines, kRobustness, {2}) {
  TrainingPlan plan = PlanFor(t, "mlp", "gpipe", 2, {6});
  plan.ranks = 1;
  plan.learning_rate = 1;
  plan.BalanceEvenly();
  const std::vector<PipelineData> data = {DrawData(t, plan), DrawData(t, plan)};
  std::vector<Trained> alone;
  for (const PipelineData& one : data) alone.push_back(TrainReference(plan, one));
  const auto squares = [&](size_t rank, double count) {
    double sum = 0;
    for (size_t i = 0; i < alone[rank].changes.size(); ++i) {
      sum += (i % 2 == 0 ? count : 1) * alone[rank].changes[i].second.square().sum().item().toDouble();
    }
    return sum;
  };
  plan.norm_count = 0.25;
  const double norm = std::sqrt(squares(0, plan.norm_count) + squares(1, plan.norm_count));
  plan.clip_norm = norm / 3;
  const auto clipped = [max = plan.clip_norm](const at::Tensor& gradient, double by) {
    return gradient * std::min(1.0, max / (by + 1e-6));
  };
  RunSpec spec = SpecOf("train", plan, data[0]);
  spec.inputs["images"] = {data[0].images, data[1].images};
  spec.inputs["labels"] = {data[0].labels, data[1].labels};
  const Run run = t.Launch(spec);
  for (size_t rank = 0; rank < 2; ++rank) {
    for (const auto& [name, gradient] : alone[rank].changes) {
      Label label{fmt::format("the clipped gradient (the change by one update of SGD) of `{}`", name)};
      label.hypotheses = {
          {"the norm is that of one pipeline: PipelineSetup::norm_ranks says over which ranks it is",
           [=, gradient = gradient] { return clipped(gradient, std::sqrt(squares(rank, 0.25))); }},
          {"every gradient counts alike in the norm, and not as PipelineSetup::norm_count says",
           [=, gradient = gradient] { return clipped(gradient, std::sqrt(squares(0, 1) + squares(1, 1))); }},
          {"the norm is that of one pipeline, and every gradient counts alike in it: see PipelineSetup::norm_ranks and "
           "norm_count",
           [=, gradient = gradient] { return clipped(gradient, std::sqrt(squares(rank, 1))); }}};
      t.ExpectClose(run, static_cast<int>(rank), "change." + name, clipped(gradient, norm), label, 0.01);
    }
  }
}

SHARDLAB_CASE(train, clipping_needs_one_number, kCost, {3}) {
  TrainingPlan plan = PlanFor(t, "mlp", "gpipe", 2, {6, 6});
  plan.clip_norm = 0.01;
  const Run run = ExpectTraining(t, plan, DrawData(t, plan));
  for (int rank = 0; rank < t.ranks(); ++rank) {
    t.ExpectCost(fmt::format("collectives of rank {} in a step that clips", rank),
                 static_cast<double>(TrafficBetween(run, rank, "step 1", "end").collectives.size()), 1, "collectives");
  }
}

SHARDLAB_CASE(train, a_last_batch_that_is_smaller_and_deferred_statistics, kRobustness, {2, 3}) {
  TrainingPlan plan = OnCifar(t, "cnn-bn", {10, 10, 5, 10, 3});
  plan.deferred = true;
  plan.evaluate = 6;
  ExpectTraining(t, plan, DrawCifar(t, plan));
}

SHARDLAB_CASE(train, adam_a_falling_rate_and_evaluations, kRobustness, {2}) {
  // No bias in front of a BatchNorm: its true gradient is 0, and Adam makes a step of the rounding errors.
  TrainingPlan plan = OnCifar(t, "mlp-ln", {9, 9, 9});
  plan.adam = true;
  plan.learning_rate = 0.01;
  plan.decays = true;
  plan.evaluate = 7;
  ExpectTraining(t, plan, DrawCifar(t, plan));
}

SHARDLAB_CASE(train, clipping_with_momentum, kRobustness, {3}) {
  TrainingPlan plan = OnCifar(t, "mlp", {9, 8, 9});
  plan.clip_norm = 0.05;
  ExpectTraining(t, plan, DrawCifar(t, plan));
}

SHARDLAB_CASE(train, late_messages, kRobustness, {3}) {
  const FaultSpec faults = LateMessages(t, 0.002);
  const TrainingPlan plan = OnCifar(t, "mlp", {9, 9, 9});
  ExpectTraining(t, plan, DrawCifar(t, plan), faults);
}

SHARDLAB_CASE(train, statistics_far_from_zero_and_of_recomputed_forwards, kRobustness, {1}) {
  ExpectDeferred(t, {3}, 1000, false);
  ExpectDeferred(t, {2, 1}, 0, true);
}

}  // namespace shardlab::grade
