#include <ATen/ATen.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "data_parallel_mistakes.hpp"
#include "kit/costs.hpp"
#include "kit/parts.hpp"
#include "kit/words.hpp"
#include "shardlab/grade/referee.hpp"

// Buckets of gradients, and the mean over the ranks that travels in them.

namespace shardlab::grade {
namespace {

using Tensors = std::vector<at::Tensor>;
using Shapes = std::vector<std::vector<int64_t>>;

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

std::string ListsName(const std::vector<std::vector<int64_t>>& lists) {
  std::vector<std::string> texts;
  for (const auto& list : lists) texts.push_back(ListName(list));
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
      {{100, 20, 30, 40}, 80}, {{8}, 1},
      {{8, 8, 8, 8}, 16},      {{8, 8, 8}, 1000},
      {{5, 5, 5}, 1},          {{1, 100, 1}, 100},
      {{30, 10, 50, 10}, 60},  {{}, 10},
      {{0, 100, 0, 0}, 10},    {{int64_t{3} << 30, int64_t{3} << 30, 5}, int64_t{4} << 30}};
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
             fmt::format("AssignBuckets({}, {}) must be {}, not {}", ListName(bytes), limit, ListsName(expected),
                         got.defined() ? ListsName(Parse(got)) : "nothing"));
  }
}

// AverageGradients

namespace {

/// A run of AverageGradients over parameters of these shapes; gradients[i][rank] is undefined where the rank has none.
struct Averages {
  RunSpec spec;
  std::vector<Tensors> gradients;
  Shapes shapes = {{4, 3}, {5}, {2, 2}, {1}, {6}};

  /// \param again whether other parameters are averaged after these.
  explicit Averages(CaseContext& t, int64_t bucket_bytes, bool float32 = false, bool again = false) {
    spec.body = "average_gradients";
    spec.params = {{"shapes", shapes}, {"bucket_bytes", bucket_bytes}, {"float32", float32}, {"again", again}};
    for (const auto& shape : shapes) {
      gradients.push_back(t.PerRank([&](int) { return t.Integers(shape, at::kDouble) * t.ranks(); }));
    }
    ranks_ = t.ranks();
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
        const auto dtype = spec.params.at("float32").get<bool>() ? at::kFloat : at::kDouble;
        if (spec.params.at("again").get<bool>()) {
          label.hypotheses.push_back(
              {"it changed when the gradients of other parameters were averaged: what is written "
               "must be a tensor of its own",
               [=] { return at::full_like(mean, 1000.0 + (ranks_ - 1) / 2.0); }});
        }
        // Small integers: a mean of float32 is exact where T is a power of two, and nearly so elsewhere.
        if (dtype == at::kFloat) {
          const at::Tensor got = run.Output(rank, "g" + std::to_string(i));
          t.Expect(got.defined() && got.scalar_type() == dtype, "the gradient of a float32 parameter must be float32");
          t.Expect(at::allclose(got.to(at::kDouble), mean, 1e-5, 1e-5),
                   fmt::format("{}, float32, on rank {} is wrong; is a float32 counted as 8 bytes?", label.what, rank));
          continue;
        }
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
                       begin += c10::multiply_integers(shapes[member]);
                     }
                     return at::cat(packed).narrow(0, begin, c10::multiply_integers(shapes[i])).reshape(shapes[i]);
                   }});
    return all;
  }

  int ranks_ = 1;

  std::vector<int64_t> Bytes() const {
    const int64_t each = spec.params.at("float32").get<bool>() ? 4 : 8;
    std::vector<int64_t> bytes;
    for (const auto& shape : shapes) bytes.push_back(each * c10::multiply_integers(shape));
    return bytes;
  }
};

constexpr int64_t kAverageBytes = (12 + 5 + 4 + 1 + 6) * 8;

}  // namespace

SHARDLAB_CASE(autograd, average_gradients, kGradient, {1, 2, 3}) {
  Averages one_bucket(t, 1 << 20), one_each(t, 1);
  one_bucket.LaunchAndExpect(t);
  one_each.LaunchAndExpect(t);
  Averages once_more(t, 80, /*float32=*/false, /*again=*/true);
  once_more.LaunchAndExpect(t);
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
    Costs costs;
    costs.Add(fmt::format("all-reduces with buckets of {} bytes: one a bucket", limit),
              static_cast<double>(run.Cost(1).collectives), static_cast<double>(buckets), "all-reduces");
    costs.Add("bytes that each rank hands to all-reduces", static_cast<double>(run.Cost(1).collective_bytes),
              kAverageBytes, "bytes");
    costs.Expect(t, {{"every parameter is a bucket of its own", {5, kAverageBytes}},
                     {"all parameters are one bucket", {1, kAverageBytes}}});
  }
  Averages float32(t, 48, /*float32=*/true);
  const Run run = float32.LaunchAndExpect(t);
  Costs costs;
  costs.Add("all-reduces of float32 with buckets of 48 bytes: one a bucket",
            static_cast<double>(run.Cost(1).collectives), 3, "all-reduces");
  costs.Add("bytes of float32 that each rank hands to all-reduces", static_cast<double>(run.Cost(1).collective_bytes),
            kAverageBytes / 2.0, "bytes");
  costs.Expect(t, {{"an element of float32 is counted as 8 bytes when buckets are filled: it has element_size() 4",
                    {4, kAverageBytes / 2.0}},
                   {"the gradients travel as float64", {kAny, static_cast<double>(kAverageBytes)}}});
}

}  // namespace shardlab::grade
