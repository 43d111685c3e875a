#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "case_util.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/cifar/loader.hpp"
#include "shardlab/cifar/synthetic.hpp"
#include "shardlab/grade/referee.hpp"
#include "shardlab/models/classifiers.hpp"
#include "shardlab/models/trainer.hpp"

// Flattening, buckets, and data-parallel training.

namespace shardlab::grade {
namespace {

using Tensors = std::vector<at::Tensor>;
using Json = nlohmann::json;
using Shapes = std::vector<std::vector<int64_t>>;

int64_t Elements(const std::vector<int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<int64_t>());
}

// Flatten

void ExpectFlattened(CaseContext& t, const Shapes& shapes, at::ScalarType dtype, int threads, int repeats) {
  int64_t total = 0;
  for (const auto& shape : shapes) total += Elements(shape);
  const at::Tensor flat = t.Integers({total}, dtype);
  RunSpec spec;
  spec.body = "flatten";
  spec.threads = threads;
  spec.params = {{"shapes", shapes}, {"repeats", repeats}};
  spec.inputs["flat"] = {flat};
  const Run run = t.Launch(spec);
  const std::string which =
      fmt::format("{} tensors of {}, {} thread{}", shapes.size(), DtypeName(dtype), threads, threads == 1 ? "" : "s");
  t.ExpectEqual(run, 0, "packed", flat, Label{"what Flatten packed from " + which, {}});
  t.ExpectEqual(run, 0, "unpacked", flat, Label{"what Unflatten unpacked into " + which, {}});
  t.Expect(run.Number(0, "different") == 0,
           fmt::format("{} of {} repetitions gave other bits than the first ({}): the threads write into each other's "
                       "elements, or share a running offset",
                       run.Number(0, "different"), repeats, which));
}

/// Many tensors of very different sizes, some without elements.
Shapes ManyShapes(CaseContext& t) {
  Shapes shapes = {{3, 4, 5}, {}, {0, 7}, {100, 31}};
  for (int i = 0; i < 200; ++i) shapes.push_back({t.Integer(0, 9), t.Integer(1, 40)});
  shapes.push_back({20000});
  shapes.push_back({0});
  return shapes;
}

}  // namespace

SHARDLAB_CASE(autograd, flatten, kValue, {1}) {
  ExpectFlattened(t, {{2, 3}, {}, {4}}, at::kDouble, 1, 2);
  ExpectFlattened(t, {{0}, {5, 0}, {2, 2, 2}, {0}}, at::kLong, 1, 2);
  ExpectFlattened(t, ManyShapes(t), at::kFloat, 1, 2);
}

SHARDLAB_CASE(autograd, flatten_on_two_threads, kValue, {1}) {
  ExpectFlattened(t, {{1}}, at::kFloat, 2, 12);
  ExpectFlattened(t, ManyShapes(t), at::kFloat, 2, 12);
}

SHARDLAB_CASE(autograd, flatten_uses_its_threads, kCost, {1}) {
  RunSpec spec;
  spec.body = "flatten_threads";
  spec.threads = 2;
  const Run run = t.Launch(spec);
  for (const std::string what : {"flatten", "unflatten"}) {
    t.Expect(run.Number(0, what) >= 0.2,
             fmt::format("{} has two threads, but the second one did {:.0f} % of the work on 256 tensors of 128 KiB; "
                         "divide the result evenly among the threads (#pragma omp parallel)",
                         what == "flatten" ? "Flatten" : "Unflatten", 100 * run.Number(0, what)));
  }
}

// Buckets

namespace {

std::vector<std::vector<int64_t>> Buckets(const std::vector<int64_t>& bytes, int64_t limit) {
  std::vector<std::vector<int64_t>> buckets;
  int64_t filled = 0;
  for (int64_t i = static_cast<int64_t>(bytes.size()) - 1; i >= 0; --i) {
    if (buckets.empty() || filled + bytes[i] > limit) {
      buckets.emplace_back();
      filled = 0;
    }
    buckets.back().push_back(i);
    filled += bytes[i];
  }
  return buckets;
}

std::string Text(const std::vector<int64_t>& numbers) { return fmt::format("{{{}}}", fmt::join(numbers, ", ")); }

std::string Text(const std::vector<std::vector<int64_t>>& lists) {
  std::vector<std::string> texts;
  for (const auto& list : lists) texts.push_back(Text(list));
  return fmt::format("{{{}}}", fmt::join(texts, ", "));
}

std::vector<std::vector<int64_t>> Parse(const at::Tensor& numbers) {
  std::vector<std::vector<int64_t>> lists(1);
  for (int64_t i = 0; i < numbers.numel(); ++i) {
    const int64_t number = numbers[i].item<int64_t>();
    if (number >= 0) lists.back().push_back(number);
    if (number < 0) lists.emplace_back();
  }
  lists.pop_back();
  return lists;
}

}  // namespace

SHARDLAB_CASE(autograd, assign_buckets, kValue, {1}) {
  RunSpec spec;
  spec.body = "assign_buckets";
  std::vector<std::pair<std::vector<int64_t>, int64_t>> calls = {
      {{100, 20, 30, 40}, 80}, {{8}, 1},           {{8, 8, 8, 8}, 16},     {{8, 8, 8}, 1000},
      {{5, 5, 5}, 1},          {{1, 100, 1}, 100}, {{30, 10, 50, 10}, 60}, {{}, 10}};
  std::vector<int64_t> random;
  for (int i = 0; i < 30; ++i) random.push_back(t.Integer(1, 50));
  calls.emplace_back(random, 100);
  for (const auto& [bytes, limit] : calls) spec.params["calls"].push_back({{"bytes", bytes}, {"limit", limit}});
  const Run run = t.Launch(spec);
  for (size_t i = 0; i < calls.size(); ++i) {
    const auto& [bytes, limit] = calls[i];
    const at::Tensor got = run.Output(0, "buckets" + std::to_string(i));
    const auto expected = Buckets(bytes, limit);
    t.Expect(got.defined() && Parse(got) == expected,
             fmt::format("AssignBuckets({}, {}) must be {}, not {}", Text(bytes), limit, Text(expected),
                         got.defined() ? Text(Parse(got)) : "nothing"));
  }
}

// AverageGradients

namespace {

/// A run of AverageGradients over parameters of these shapes; gradients[i][rank] is undefined where the rank has none.
struct Averages {
  RunSpec spec;
  std::vector<Tensors> gradients;
  Shapes shapes = {{4, 3}, {5}, {2, 2}, {1}, {6}};

  explicit Averages(CaseContext& t, int64_t bucket_bytes) {
    spec.body = "average_gradients";
    spec.params = {{"shapes", shapes}, {"bucket_bytes", bucket_bytes}};
    for (const auto& shape : shapes) {
      gradients.push_back(t.PerRank([&](int) { return t.Integers(shape, at::kDouble) * t.ranks(); }));
    }
  }

  Run LaunchAndExpect(CaseContext& t) {
    for (size_t i = 0; i < shapes.size(); ++i) spec.inputs["g" + std::to_string(i)] = gradients[i];
    Run run = t.Launch(spec);
    for (size_t i = 0; i < shapes.size(); ++i) {
      at::Tensor mean = at::zeros(shapes[i], at::kDouble);
      for (const at::Tensor& gradient : gradients[i]) {
        if (gradient.defined()) mean = mean + gradient / t.ranks();
      }
      for (int rank = 0; rank < t.ranks(); ++rank) {
        t.ExpectClose(run, rank, "g" + std::to_string(i), mean,
                      Label{fmt::format("the gradient of parameter {}, averaged", i), {}}, 1);
      }
    }
    return run;
  }
};

constexpr int64_t kAverageBytes = (12 + 5 + 4 + 1 + 6) * 8;

}  // namespace

SHARDLAB_CASE(autograd, average_gradients, kGradient, {1, 2, 3}) {
  Averages one_bucket(t, 1 << 20), one_each(t, 1);
  one_bucket.LaunchAndExpect(t);
  one_each.LaunchAndExpect(t);
}

SHARDLAB_CASE(autograd, average_where_gradients_are_missing, kRobustness, {3}) {
  Averages averages(t, 80);
  averages.gradients[1][0] = at::Tensor();
  averages.gradients[2][1] = averages.gradients[2][2] = at::Tensor();
  for (at::Tensor& gradient : averages.gradients[4]) gradient = at::Tensor();
  averages.LaunchAndExpect(t);
}

SHARDLAB_CASE(autograd, average_cost, kCost, {3}) {
  for (const auto& [limit, buckets] : std::vector<std::pair<int64_t, int64_t>>{{1 << 20, 1}, {96, 3}, {1, 5}}) {
    Averages averages(t, limit);
    const Run run = averages.LaunchAndExpect(t);
    t.ExpectCost(fmt::format("all-reduces with buckets of {} bytes", limit), run.Cost(1).collectives, buckets,
                 "all-reduces");
    t.ExpectCost("bytes that each rank hands to all-reduces", run.Cost(1).collective_bytes, kAverageBytes, "bytes");
  }
}

// DataParallelStep

namespace {

/// A run of DataParallelStep on a linear regression, each call with its own samples.
class Steps {
 public:
  explicit Steps(CaseContext& t) : t_(t), w_(t.Normal({3, 2})), b_(t.Normal({2})) {
    spec.body = "data_parallel_step";
    spec.params["calls"] = Json::array();
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
    const int64_t batch = std::accumulate(samples.begin(), samples.end(), int64_t{0});
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
      const std::string with = fmt::format(" with {} samples on the ranks and {} micro-batch{}", Text(call.samples),
                                           call.micro_batches, call.micro_batches == 1 ? "" : "es");
      double shares = 0;
      for (int rank = 0; rank < t_.ranks(); ++rank) {
        shares += run.Number(rank, "share" + number);
        t_.ExpectClose(run, rank, "dw" + number, w.grad(), Label{"the gradient of the weight" + with, {}}, scale);
        t_.ExpectClose(run, rank, "db" + number, b.grad(), Label{"the gradient of the bias" + with, {}}, scale);
        t_.ExpectClose(run, rank, "dunused" + number, at::zeros({3}, at::kDouble),
                       Label{"the gradient of a parameter that takes no part in the loss" + with, {}}, scale);
      }
      const double expected = loss.item<double>();
      t_.Expect(std::abs(shares - expected) <= 1e-10 * std::max(std::abs(expected), 1.0),
                fmt::format("the ranks' shares of the loss add up to {:.12g}, one process has {:.12g} (ratio {:.6g}){}",
                            shares, expected, shares / expected, with));
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
    t.ExpectCost(fmt::format("all-reduces with {} micro-batches and 3 buckets", micro_batches), run.Cost(0).collectives,
                 3, "all-reduces");
    t.ExpectCost(fmt::format("bytes that a rank hands to all-reduces with {} micro-batches", micro_batches),
                 run.Cost(0).collective_bytes, (6 + 2 + 3) * 8, "bytes");
  }
}

// Training on CIFAR

SHARDLAB_CASE(autograd, training_gives_the_single_process_curve, kValue, {2, 3}) {
  constexpr int64_t kSteps = 36,
                    kImages = 34;  // three batches of 10 and one of 4, over and over, so that the loss falls
  const auto data = std::make_shared<cifar::Dataset>(cifar::MakeSynthetic({kImages, 1, 1}).train);
  cifar::LoaderOptions loading;
  loading.batch = 10;
  loading.seed = t.seed();
  loading.dtype = at::kDouble;
  cifar::Loader loader(data, cifar::Measure(*data), loading);

  ModelOptions options;
  options.dtype = at::kDouble;
  options.seed = t.seed();
  options.conv_channels = {4, 8};
  options.dense = 16;
  const auto model = MakeModel("cnn", options);
  TrainOptions training;
  training.steps = kSteps;
  training.learning_rate = 0.03;
  const TrainResult reference = Train(
      *model, [&](int64_t step) { return loader.Get(step); }, training);

  RunSpec spec;
  spec.body = "train";
  spec.limit_s = 30;
  std::vector<int64_t> batches;
  std::vector<Tensors> images(t.ranks()), labels(t.ranks());
  std::vector<std::vector<int64_t>> counts(t.ranks());
  for (int64_t step = 0; step < kSteps; ++step) {
    batches.push_back(0);
    for (int rank = 0; rank < t.ranks(); ++rank) {
      const Batch shard = loader.Get(step, rank, t.ranks());
      images[rank].push_back(shard.images);
      labels[rank].push_back(shard.labels);
      counts[rank].push_back(shard.labels.size(0));
      batches.back() += shard.labels.size(0);
    }
  }
  spec.inputs["images"] = t.PerRank([&](int rank) { return at::cat(images[rank]); });
  spec.inputs["labels"] = t.PerRank([&](int rank) { return at::cat(labels[rank]); });
  spec.inputs["counts"] = t.PerRank([&](int rank) { return at::tensor(counts[rank], at::kLong); });
  spec.params = {{"model", "cnn"},
                 {"model_seed", t.seed()},
                 {"conv_channels", options.conv_channels},
                 {"dense", options.dense},
                 {"learning_rate", training.learning_rate},
                 {"momentum", training.momentum},
                 {"batches", batches},
                 {"micro_batches", 2},
                 {"bucket_bytes", 4096}};
  const Run run = t.Launch(spec);

  std::vector<double> losses(kSteps, 0.0), tolerance;
  for (int rank = 0; rank < t.ranks(); ++rank) {
    const at::Tensor shares = run.Output(rank, "shares");
    t.Expect(shares.defined() && shares.numel() == kSteps, "the losses of some steps are missing");
    for (int64_t step = 0; step < kSteps; ++step) losses[step] += shares[step].item<double>();
  }
  for (int64_t step = 0; step < kSteps; ++step) {
    tolerance.push_back(1e-10 * (step + 1) * std::max(std::abs(reference.losses[step]), 1.0));
  }
  t.Curve(fmt::format("data-parallel on {} ranks", t.ranks()), losses, reference.losses, tolerance);
  for (int64_t step = 0; step < kSteps; ++step) {
    t.Expect(
        std::abs(losses[step] - reference.losses[step]) <= tolerance[step],
        fmt::format("the loss of step {} is {:.12g}; one process has {:.12g} (difference {:.2g}, allowed {:.2g})", step,
                    losses[step], reference.losses[step], losses[step] - reference.losses[step], tolerance[step]));
  }
  double squares = 0;
  for (const auto& [name, value] : reference.parameters) squares += value.pow(2).sum().item<double>();
  const double scale = std::sqrt(squares / static_cast<double>(reference.parameters.size()));
  for (const auto& [name, value] : reference.parameters) {
    for (int rank = 0; rank < t.ranks(); ++rank) {
      t.ExpectClose(run, rank, name, value, Label{"the trained " + name, {}}, scale, kSteps);
    }
  }
}

}  // namespace shardlab::grade
