#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "data_parallel_mistakes.hpp"
#include "kit/costs.hpp"
#include "kit/equal_training.hpp"
#include "kit/hypotheses.hpp"
#include "kit/image_training.hpp"
#include "kit/images.hpp"
#include "kit/parts.hpp"
#include "kit/words.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/grade/referee.hpp"
#include "shardlab/models/classifiers.hpp"
#include "shardlab/models/trainer.hpp"

// Data-parallel training: one step, and many.

namespace shardlab::grade {
namespace {

using Tensors = std::vector<at::Tensor>;

/// A run of DataParallelStep on a linear regression, each call with its own samples.
class Steps {
 public:
  explicit Steps(CaseContext& t) : t_(t), w_(t.Normal({3, 2})), b_(t.Normal({2})) {
    spec.body = "data_parallel_step";
    spec.params["calls"] = nlohmann::json::array();
    spec.inputs["w"] = t.PerRank([&](int) { return w_; });
    spec.inputs["b"] = t.PerRank([&](int) { return b_; });
  }

  void Add(const std::vector<int64_t>& samples, int64_t micro_batches, int64_t bucket_bytes = 1 << 20) {
    const std::string number = std::to_string(calls_.size());
    Call call{samples, micro_batches, {}, {}};
    for (int64_t count : samples) {
      call.x.push_back(t_.Normal({count, 3}));
      call.y.push_back(t_.Normal({count, 2}));
    }
    spec.inputs["x" + number] = call.x;
    spec.inputs["y" + number] = call.y;
    const int64_t batch = Total(samples);
    spec.params["calls"].push_back(
        {{"batch", batch}, {"micro_batches", micro_batches}, {"bucket_bytes", bucket_bytes}});
    calls_.push_back(std::move(call));
  }

  Run LaunchAndExpect() const {
    Run run = t_.Launch(spec);
    for (size_t i = 0; i < calls_.size(); ++i) {
      const Call& call = calls_[i];
      const std::string number = std::to_string(i);
      const at::Tensor w = w_.clone().set_requires_grad(true), b = b_.clone().set_requires_grad(true);
      const at::Tensor loss = (at::cat(call.x).mm(w) + b - at::cat(call.y)).pow(2).sum(1).mean();
      loss.backward();
      const double scale = std::sqrt((w.grad().pow(2).sum() + b.grad().pow(2).sum()).item<double>()) / std::sqrt(3.0);
      const std::string with = fmt::format(" with {} samples on the ranks and {} micro-batch{}", ListName(call.samples),
                                           call.micro_batches, call.micro_batches == 1 ? "" : "es");
      double shares = 0;
      for (int rank = 0; rank < t_.ranks(); ++rank) {
        std::vector<int64_t> sizes;
        for (const BatchPiece& part : MicroBatchesOf(rank, call.samples, call.micro_batches))
          sizes.push_back(part.samples);
        const at::Tensor got = run.Output(rank, "samples" + number);
        const auto* const first = got.defined() ? got.data_ptr<int64_t>() : nullptr;
        const std::vector<int64_t> ran(first, got.defined() ? first + got.numel() : first);
        t_.Expect(ran == sizes, fmt::format("rank {} runs its samples in parts of {}; min(micro_batches, samples) "
                                            "micro-batches (SplitSizes) are parts of {}{}",
                                            rank, ListName(ran), ListName(sizes), with));
        const double alive = run.Number(rank, "alive" + number);
        t_.Expect(alive == 0,
                  fmt::format("rank {}: when a micro-batch begins, what {} before it needs for backward is still "
                              "there; call backward on each before the next one, so that it is freed{}",
                              rank, Count(static_cast<int64_t>(alive), "micro-batch"), with));
        shares += run.Number(rank, "share" + number);
        Label of_w{"the gradient of the weight" + with};
        of_w.hypotheses = StepHypotheses(rank, call.samples, call.micro_batches,
                                         [&](const BatchPiece& part) { return GradientsOf(call, part).first; });
        t_.ExpectClose(run, rank, "dw" + number, w.grad(), of_w, scale);
        Label of_b{"the gradient of the bias" + with};
        of_b.hypotheses = StepHypotheses(rank, call.samples, call.micro_batches,
                                         [&](const BatchPiece& part) { return GradientsOf(call, part).second; });
        t_.ExpectClose(run, rank, "db" + number, b.grad(), of_b, scale);
        t_.ExpectClose(run, rank, "dunused" + number, at::zeros({3}, at::kDouble),
                       Label{"the gradient of a parameter that takes no part in the loss" + with, {}}, scale);
      }
      const double expected = loss.item<double>();
      t_.Expect(
          std::abs(shares - expected) <= 1e-10 * std::max(std::abs(expected), 1.0),
          fmt::format("the ranks' shares of the loss add up to {:.12g}, one process has {:.12g} (ratio {:.6g}){}{}",
                      shares, expected, shares / expected, with, Explained(shares, expected, ShareMistakes(call))));
    }
    return run;
  }

  RunSpec spec;

 private:
  struct Call {
    std::vector<int64_t> samples;
    int64_t micro_batches;
    Tensors x, y;
  };

  at::Tensor LossOf(const Call& call, const BatchPiece& part, const at::Tensor& w, const at::Tensor& b) const {
    int64_t begin = 0;
    for (const BatchPiece& before : MicroBatchesOf(part.rank, call.samples, call.micro_batches)) {
      if (before.index < part.index) begin += before.samples;
    }
    const at::Tensor x = call.x[part.rank].narrow(0, begin, part.samples);
    const at::Tensor y = call.y[part.rank].narrow(0, begin, part.samples);
    return (x.mm(w) + b - y).pow(2).sum(1).mean();
  }

  /// Of a micro-batch's mean loss: by the weight, by the bias.
  std::pair<at::Tensor, at::Tensor> GradientsOf(const Call& call, const BatchPiece& part) const {
    const at::Tensor w = w_.clone().set_requires_grad(true), b = b_.clone().set_requires_grad(true);
    LossOf(call, part, w, b).backward();
    return {w.grad(), b.grad()};
  }

  /// What the shares add up to when the step returns something else.
  std::vector<FigureHypothesis> ShareMistakes(const Call& call) const {
    double own_means = 0, sums = 0;
    for (int rank = 0; rank < t_.ranks(); ++rank) {
      for (const BatchPiece& part : MicroBatchesOf(rank, call.samples, call.micro_batches)) {
        const double loss = LossOf(call, part, w_, b_).item<double>();
        own_means += loss * static_cast<double>(part.samples) / static_cast<double>(part.rank_samples);
        sums += loss;
      }
    }
    return {{"every rank returns the mean loss of its own samples, and not their share of the batch's", own_means},
            {"every rank returns the mean of the ranks' mean losses", own_means / t_.ranks()},
            {"the micro-batches' mean losses are added up without weights", sums}};
  }

  CaseContext& t_;
  at::Tensor w_, b_;
  std::vector<Call> calls_;
};

}  // namespace

SHARDLAB_CASE(autograd, data_parallel_step, kGradient, {1, 2, 3}) {
  Steps steps(t);
  std::vector<int64_t> even(t.ranks(), 4), uneven, gaps;
  for (int rank = 0; rank < t.ranks(); ++rank) {
    uneven.push_back(5 - rank);
    gaps.push_back(rank == 0 ? 3 : 0);
  }
  steps.Add(even, 1);
  steps.Add(uneven, 1);
  steps.Add(even, 2);
  steps.Add(uneven, 3);
  steps.Add(uneven, 100, 1);
  steps.Add(gaps, 2);
  steps.LaunchAndExpect();
}

SHARDLAB_CASE(autograd, only_the_last_micro_batch_talks, kCost, {2}) {
  for (int64_t micro_batches : {1, 3}) {
    Steps steps(t);
    steps.Add({6, 6}, micro_batches, 3 * 8);  // the bias fits beside nothing: three buckets
    const Run run = steps.LaunchAndExpect();
    constexpr double kBytes = (6 + 2 + 3) * 8;
    const auto parts = static_cast<double>(micro_batches);
    Costs costs;
    costs.Add(fmt::format("all-reduces with {} micro-batches and 3 buckets", micro_batches),
              static_cast<double>(run.Cost(0).collectives), 3, "all-reduces");
    costs.Add(fmt::format("bytes that a rank hands to all-reduces with {} micro-batches", micro_batches),
              static_cast<double>(run.Cost(0).collective_bytes), kBytes, "bytes");
    costs.Expect(t, {{"every micro-batch talks, and not the last one only", {3 * parts, kBytes * parts}},
                     {"the loss is communicated too: only its share is asked for", {4, kBytes + 8}}});
  }
}

// Training on CIFAR

SHARDLAB_CASE(autograd, training_gives_the_single_process_curve, kValue, {2, 3}) {
  ImageTraining plan;
  plan.model = "cnn";
  plan.model_options.dtype = at::kDouble;
  plan.model_options.seed = t.seed();
  plan.model_options.conv_channels = {4, 8};
  plan.model_options.dense = 16;
  plan.train_options.steps = 36;
  plan.train_options.recipe.learning_rate = 0.03;
  plan.batch = 10;
  // Three batches of 10 and one of 4, over and over, so that the loss falls.
  const Images data = DrawImages(t, 34);
  const auto batch = [&](int64_t step) { return plan.BatchOf(step, data.pixels, data.labels); };
  const TrainResult reference = Train(*MakeModel(plan.model, plan.model_options), batch, plan.train_options);

  DataParallelTraining repeated;
  repeated.make_model = [options = plan.model_options] { return MakeModel("cnn", options); };
  repeated.options = plan.train_options;
  repeated.micro_batches = 2;
  repeated.images.resize(t.ranks());
  repeated.labels.resize(t.ranks());
  std::vector<int64_t> batches;
  std::vector<std::vector<int64_t>> counts(t.ranks());
  for (int64_t step = 0; step < plan.train_options.steps; ++step) {
    const Batch whole = batch(step);
    batches.push_back(whole.labels.size(0));
    for (int rank = 0; rank < t.ranks(); ++rank) {
      const Range mine = SplitRange(batches.back(), t.ranks(), rank);
      repeated.images[rank].push_back(whole.images.narrow(0, mine.begin, mine.size()));
      repeated.labels[rank].push_back(whole.labels.narrow(0, mine.begin, mine.size()));
      counts[rank].push_back(mine.size());
    }
  }
  RunSpec spec;
  spec.body = "train";
  spec.limit_s = 30;
  spec.inputs["images"] = t.PerRank([&](int rank) { return at::cat(repeated.images[rank]); });
  spec.inputs["labels"] = t.PerRank([&](int rank) { return at::cat(repeated.labels[rank]); });
  spec.inputs["counts"] = t.PerRank([&](int rank) { return at::tensor(counts[rank], at::kLong); });
  spec.params = plan.ToJson();
  spec.params["batches"] = batches;
  spec.params["micro_batches"] = repeated.micro_batches;
  spec.params["bucket_bytes"] = 4096;
  const Run run = t.Launch(spec);

  std::vector<double> losses(batches.size(), 0.0);
  for (int rank = 0; rank < t.ranks(); ++rank) {
    const auto shares = LossesOf(t, run, rank, "shares", losses.size(), "the losses of some steps are missing");
    for (size_t step = 0; step < losses.size(); ++step) losses[step] += shares[step];
  }
  const std::vector<MistakenRun> mistakes = MistakenTrainings(repeated);
  std::vector<Hypothesis> of_losses = For("losses", mistakes);
  Append(of_losses, For("weighted", mistakes));
  ExpectLosses(t, fmt::format("data-parallel on {} ranks, {}", t.ranks(), data.source), losses, reference.losses,
               of_losses);
  const double scale = ScaleOf(reference.parameters), steps = static_cast<double>(losses.size());
  for (const auto& [name, value] : reference.parameters) {
    for (int rank = 0; rank < t.ranks(); ++rank) {
      Label label{"the trained " + name};
      label.hypotheses = For(fmt::format("{}.{}", rank, name), mistakes);
      t.ExpectClose(run, rank, name, value, label, scale, steps);
    }
  }
}

}  // namespace shardlab::grade
