#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "case_util.hpp"
#include "data_parallel_mistakes.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/cifar/loader.hpp"
#include "shardlab/cifar/synthetic.hpp"
#include "shardlab/grade/hypotheses.hpp"
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

/// The pieces of `flat` that belong to each shape.
Tensors PiecesOf(const at::Tensor& flat, const Shapes& shapes) {
  std::vector<int64_t> sizes;
  for (const auto& shape : shapes) sizes.push_back(Elements(shape));
  return flat.split_with_sizes(sizes);
}

/// Of every three tensors the body makes the third one non-contiguous: every second element of a larger one.
std::vector<Hypothesis> FlattenMistakes(const at::Tensor& flat, const Shapes& shapes, bool packing) {
  const auto of_the_strided = [=](const std::function<at::Tensor(const at::Tensor&)>& change) {
    return [=] {
      Tensors pieces = PiecesOf(flat, shapes);
      for (size_t i = 2; i < pieces.size(); i += 3) pieces[i] = change(pieces[i]);
      return at::cat(pieces);
    };
  };
  const auto spread = [](const at::Tensor& piece) { return at::stack({piece, at::zeros_like(piece)}, 1).flatten(); };
  const auto turned = [=] {
    Tensors pieces = PiecesOf(flat, shapes);
    std::reverse(pieces.begin(), pieces.end());
    return at::cat(pieces);
  };
  if (packing) {
    return {{"the memory of a non-contiguous tensor is copied as it lies: its strides are ignored",
             of_the_strided([=](const at::Tensor& piece) { return spread(piece).narrow(0, 0, piece.numel()); })},
            {"the tensors are packed from the last one to the first", turned}};
  }
  return {{"a non-contiguous tensor is written as if it were contiguous: its strides are ignored",
           of_the_strided([](const at::Tensor& piece) {
             // The view sees every second of the elements that were written one behind the other.
             const at::Tensor wide = at::cat({piece, at::zeros_like(piece)});
             return wide.slice(0, 0, 2 * piece.numel(), 2).contiguous();
           })},
          {"what belongs into a non-contiguous tensor is written into a copy of it, which is another tensor",
           of_the_strided([](const at::Tensor& piece) { return at::zeros_like(piece); })},
          {"the tensors are unpacked from the last one to the first", turned}};
}

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
  Label packed{"what Flatten packed from " + which};
  packed.hypotheses = FlattenMistakes(flat, shapes, /*packing=*/true);
  t.ExpectEqual(run, 0, "packed", flat, packed);
  Label unpacked{"what Unflatten unpacked into " + which};
  unpacked.hypotheses = FlattenMistakes(flat, shapes, /*packing=*/false);
  t.ExpectEqual(run, 0, "unpacked", flat, unpacked);
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

// Who copies, not how long: see WatchedMemory. Division of the result gives the second thread 50 %, whatever else the
// machine does, and pieces that the threads take as they come at least 43 %, since nobody gets further ahead. A thread
// that is held up in one of the tensors that are not contiguous shows what depends on the order of the threads.
SHARDLAB_CASE(autograd, flatten_uses_its_threads, kCost, {1}) {
  RunSpec spec;
  spec.body = "flatten_threads";
  spec.limit_s = 20;
  spec.threads = 2;
  const Run run = t.Launch(spec);
  const std::string tensors = "one number of each of 256 tensors of float64, 2 threads: tensor i holds i";
  t.ExpectEqual(run, 0, "packed", at::arange(256, at::kDouble), Label{"what Flatten packed, " + tensors});
  for (const std::string what : {"flatten", "unflatten"}) {
    t.Expect(run.Number(0, what) >= 0.2,
             fmt::format("{} has two threads, but the second one did {:.0f} % of the work on 256 tensors of 128 KiB; "
                         "divide the result evenly among the threads (#pragma omp parallel)",
                         what == "flatten" ? "Flatten" : "Unflatten", 100 * run.Number(0, what)));
  }
  t.ExpectEqual(run, 0, "unpacked", at::arange(256, at::kDouble), Label{"what Unflatten unpacked, " + tensors});
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
        Label label{fmt::format("the gradient of parameter {}, averaged", i)};
        label.hypotheses = Mistakes(t.ranks(), static_cast<int64_t>(i), rank);
        t.ExpectClose(run, rank, "g" + std::to_string(i), mean, label, 1);
      }
    }
    return run;
  }

  std::vector<Hypothesis> Mistakes(int ranks, int64_t i, int rank) const {
    const auto or_zero = [this](size_t parameter) {
      Tensors all;
      for (const at::Tensor& gradient : gradients[parameter]) {
        all.push_back(gradient.defined() ? gradient : at::zeros(shapes[parameter], at::kDouble));
      }
      return all;
    };
    const auto buckets = Buckets(Bytes(), spec.params.at("bucket_bytes").get<int64_t>());
    const size_t of =
        std::find_if(buckets.begin(), buckets.end(),
                     [&](const auto& bucket) { return std::count(bucket.begin(), bucket.end(), i) > 0; }) -
        buckets.begin();
    const bool last = of + 1 == buckets.size() && of > 0;
    std::vector<Hypothesis> all = AverageMistakes(
        or_zero(i), rank, last ? "nothing travels, or the last bucket does not" : "its bucket never travels");
    const auto there =
        std::count_if(gradients[i].begin(), gradients[i].end(), [](const auto& g) { return g.defined(); });
    if (there > 0 && there < ranks) {
      all.push_back({"the mean is taken over the ranks that have a gradient: a missing one counts as zero",
                     [=] { return SumOf(or_zero(i)) / static_cast<double>(there); }});
    }
    all.push_back({"the bucket is unpacked in another order than it was packed in", [=] {
                     std::vector<int64_t> members = buckets[of];
                     Tensors packed;
                     for (const int64_t member : members) packed.push_back((SumOf(or_zero(member)) / ranks).flatten());
                     std::reverse(members.begin(), members.end());
                     int64_t begin = 0;
                     for (const int64_t member : members) {
                       if (member == i) break;
                       begin += Elements(shapes[member]);
                     }
                     return at::cat(packed).narrow(0, begin, Elements(shapes[i])).reshape(shapes[i]);
                   }});
    return all;
  }

  std::vector<int64_t> Bytes() const {
    std::vector<int64_t> bytes;
    for (const auto& shape : shapes) bytes.push_back(8 * Elements(shape));
    return bytes;
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
    t.ExpectCost(fmt::format("all-reduces with buckets of {} bytes: one a bucket", limit), run.Cost(1).collectives,
                 buckets, "all-reduces",
                 {{"every parameter is a bucket of its own", 5}, {"all parameters are one bucket", 1}});
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
        Label of_w{"the gradient of the weight" + with};
        of_w.hypotheses = StepHypotheses(rank, call.samples, call.micro_batches,
                                         [&](const MicroBatch& part) { return GradientsOf(call, part).first; });
        t_.ExpectClose(run, rank, "dw" + number, w.grad(), of_w, scale);
        Label of_b{"the gradient of the bias" + with};
        of_b.hypotheses = StepHypotheses(rank, call.samples, call.micro_batches,
                                         [&](const MicroBatch& part) { return GradientsOf(call, part).second; });
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

  at::Tensor LossOf(const Call& call, const MicroBatch& part, const at::Tensor& w, const at::Tensor& b) const {
    int64_t begin = 0;
    for (const MicroBatch& before : MicroBatchesOf(part.rank, call.samples, call.micro_batches)) {
      if (before.index < part.index) begin += before.samples;
    }
    const at::Tensor x = call.x[part.rank].narrow(0, begin, part.samples);
    const at::Tensor y = call.y[part.rank].narrow(0, begin, part.samples);
    return (x.mm(w) + b - y).pow(2).sum(1).mean();
  }

  /// Of a micro-batch's mean loss: by the weight, by the bias.
  std::pair<at::Tensor, at::Tensor> GradientsOf(const Call& call, const MicroBatch& part) const {
    const at::Tensor w = w_.clone().set_requires_grad(true), b = b_.clone().set_requires_grad(true);
    LossOf(call, part, w, b).backward();
    return {w.grad(), b.grad()};
  }

  /// What the shares add up to when the step returns something else.
  std::vector<FigureHypothesis> ShareMistakes(const Call& call) const {
    double own_means = 0, sums = 0;
    for (int rank = 0; rank < t_.ranks(); ++rank) {
      for (const MicroBatch& part : MicroBatchesOf(rank, call.samples, call.micro_batches)) {
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
    const std::string every = "every micro-batch talks, and not the last one only";
    t.ExpectCost(fmt::format("all-reduces with {} micro-batches and 3 buckets", micro_batches), run.Cost(0).collectives,
                 3, "all-reduces", {{every, 3.0 * micro_batches}});
    t.ExpectCost(fmt::format("bytes that a rank hands to all-reduces with {} micro-batches", micro_batches),
                 run.Cost(0).collective_bytes, (6 + 2 + 3) * 8, "bytes", {{every, (6.0 + 2 + 3) * 8 * micro_batches}});
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
  training.recipe.learning_rate = 0.03;
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
                 {"learning_rate", training.recipe.learning_rate},
                 {"momentum", training.recipe.momentum},
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
  DataParallelTraining repeated;
  repeated.make_model = [options] { return MakeModel("cnn", options); };
  repeated.options = training;
  repeated.micro_batches = spec.params["micro_batches"];
  repeated.images = images;
  repeated.labels = labels;
  const std::vector<MistakenRun> mistakes = MistakenTrainings(repeated);
  std::vector<Hypothesis> of_losses = For("losses", mistakes);
  Append(of_losses, For("weighted", mistakes));
  t.ExpectCurve(fmt::format("data-parallel on {} ranks", t.ranks()), losses, reference.losses, tolerance, of_losses);
  double squares = 0;
  for (const auto& [name, value] : reference.parameters) squares += value.pow(2).sum().item<double>();
  const double scale = std::sqrt(squares / static_cast<double>(reference.parameters.size()));
  for (const auto& [name, value] : reference.parameters) {
    for (int rank = 0; rank < t.ranks(); ++rank) {
      Label label{"the trained " + name};
      label.hypotheses = For(std::to_string(rank) + "." + name, mistakes);
      t.ExpectClose(run, rank, name, value, label, scale, kSteps);
    }
  }
}

}  // namespace shardlab::grade
