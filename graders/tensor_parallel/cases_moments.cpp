#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "shardlab/grade/referee.hpp"

// Part norms: moments of parts, merged.

namespace shardlab::grade {
namespace {

// How many sets a shape stands for.
int64_t Sets(const std::vector<int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

// What merged moments may be. x [sets, values], the parts one behind the other.
class MomentMistakes {
 public:
  MomentMistakes(const at::Tensor& x, const std::vector<int64_t>& counts, std::vector<int64_t> sets)
      : mean_(x.size(1) > 0 ? x.mean(1) : x.sum(1)), sets_(std::move(sets)) {
    for (const at::Tensor& part : x.split_with_sizes(counts, 1)) {
      if (part.size(1) > 0) parts_.push_back(part);
    }
  }

  std::vector<Hypothesis> OfMean() const {
    return {{"it is the mean of the parts' means, not weighted by their counts",
             [=] { return parts_.empty() ? at::Tensor() : at::stack(Means()).mean(0).view(sets_); }},
            {"it is the sum of the parts' means",
             [=] { return parts_.empty() ? at::Tensor() : at::stack(Means()).sum(0).view(sets_); }}};
  }
  std::vector<Hypothesis> OfM2() const {
    return {{"it forgets how far the parts' means lie apart: sum n_t (mean_t - mean)^2 is missing",
             [=] { return Within().view(sets_); }},
            {"the squares (mean_t - mean)^2 are not weighted: each counts n_t times", [=] {
               at::Tensor m2 = Within();
               for (const at::Tensor& mean : Means()) m2 = m2 + (mean - mean_).square();
               return m2.view(sets_);
             }}};
  }

 private:
  std::vector<at::Tensor> Means() const {
    std::vector<at::Tensor> means;
    for (const at::Tensor& part : parts_) means.push_back(part.mean(1));
    return means;
  }
  at::Tensor Within() const {
    at::Tensor m2 = at::zeros_like(mean_);
    for (const at::Tensor& part : parts_) m2 = m2 + (part - part.mean(1, true)).square().sum(1);
    return m2;
  }

  at::Tensor mean_;
  std::vector<int64_t> sets_;
  std::vector<at::Tensor> parts_;
};

}  // namespace

SHARDLAB_CASE(norms, merge_moments, kValue, {1}) {
  struct Call {
    std::string what;
    at::ScalarType dtype;
    double mean;
    std::vector<int64_t> counts;
    std::vector<int64_t> sets = {3};  // the shape of mean and m2
  };
  const std::vector<Call> calls = {{"MergeMoments (counts 3, 5, 2)", at::kDouble, 0, {3, 5, 2}},
                                   {"MergeMoments (one part)", at::kDouble, 1, {4}},
                                   {"MergeMoments (a part of count 0 whose mean is NaN)", at::kDouble, 2, {3, 0, 4}},
                                   {"MergeMoments (float32, mean 1000)", at::kFloat, 1000, {40, 1, 23}},
                                   {"MergeMoments (nothing at all)", at::kDouble, 0, {0, 0}},
                                   {"MergeMoments (sets as a 2 x 3 tensor)", at::kDouble, 0, {2, 4}, {2, 3}},
                                   {"MergeMoments (one set, without a dimension)", at::kDouble, 0, {3, 2}, {}}};
  RunSpec spec;
  spec.body = "moments";
  spec.params["calls"] = nlohmann::json::array();
  std::vector<at::Tensor> values_of_call;
  for (size_t c = 0; c < calls.size(); ++c) {
    const std::string i = std::to_string(c);
    spec.params["calls"].push_back({{"what", calls[c].what}, {"counts", calls[c].counts}});
    std::vector<at::Tensor> values;
    for (size_t p = 0; p < calls[c].counts.size(); ++p) {
      // What the function gets has the precision of its type; the reference is of the same rounded values.
      const at::Tensor x =
          (t.Normal({Sets(calls[c].sets), calls[c].counts[p]}) + calls[c].mean).to(calls[c].dtype).to(at::kDouble);
      const bool empty = calls[c].counts[p] == 0;
      const at::Tensor mean =
          empty ? at::full({x.size(0)}, std::numeric_limits<double>::quiet_NaN(), at::kDouble) : x.mean(1);
      const at::Tensor m2 = empty ? mean : (x - mean.unsqueeze(1)).square().sum(1);
      const std::string part = i + "." + std::to_string(p);
      spec.inputs[part + ".mean"] = {mean.to(calls[c].dtype).view(calls[c].sets)};
      spec.inputs[part + ".m2"] = {m2.to(calls[c].dtype).view(calls[c].sets)};
      values.push_back(x);
    }
    values_of_call.push_back(at::cat(values, 1));
  }
  const Run run = t.Launch(spec);
  for (size_t c = 0; c < calls.size(); ++c) {
    const std::string i = std::to_string(c);
    const at::Tensor& x = values_of_call[c];
    const bool empty = x.size(1) == 0;
    const at::Tensor mean = (empty ? at::zeros({x.size(0)}, at::kDouble) : x.mean(1)).view(calls[c].sets);
    const at::Tensor m2 = (x - mean.view({-1, 1})).square().sum(1).view(calls[c].sets);
    t.Expect(run.Number(0, i + ".changed") == 0,
             fmt::format("{} changed its parts: they are left as they are", calls[c].what));
    t.Expect(run.Number(0, i + ".shares") == 0,
             fmt::format("the result of {} shares memory with a part: mean and m2 are new tensors", calls[c].what));
    t.Expect(run.Number(0, i + ".count") == static_cast<double>(x.size(1)),
             fmt::format("the count of {} is {}, expected {}", calls[c].what, run.Number(0, i + ".count"), x.size(1)));
    if (calls[c].dtype == at::kDouble) {
      const at::Tensor got = run.Output(0, i + ".mean");
      if (std::count(calls[c].counts.begin(), calls[c].counts.end(), 0) > 0) {
        t.Expect(!got.defined() || !got.isnan().any().item<bool>(),
                 fmt::format(
                     "the mean of {} is NaN: 0 * NaN is NaN, so a part of count 0 is left out and not multiplied by 0",
                     calls[c].what));
      }
      const MomentMistakes mistakes(x, calls[c].counts, calls[c].sets);
      Label of_mean{"the mean of " + calls[c].what};
      of_mean.hypotheses = mistakes.OfMean();
      t.ExpectClose(run, 0, i + ".mean", mean, of_mean, /*scale=*/1);
      Label of_m2{"m2 of " + calls[c].what};
      of_m2.hypotheses = mistakes.OfM2();
      t.ExpectClose(run, 0, i + ".m2", m2, of_m2, /*scale=*/1);
      continue;
    }
    const at::Tensor got = run.Output(0, i + ".m2");
    t.Expect(got.defined() && got.sizes() == m2.sizes() && got.scalar_type() == calls[c].dtype,
             fmt::format("m2 of {} is not a float32 tensor of the parts' shape", calls[c].what));
    const double off = (run.Output(0, i + ".mean").to(at::kDouble) - mean).abs().max().item().toDouble();
    t.Expect(off < 1e-3, fmt::format("the mean of {} is off by {:.3g}", calls[c].what, off));
    const double error = ((got.to(at::kDouble) - m2) / m2).abs().max().item().toDouble();
    t.Expect(
        error < 1e-3,
        fmt::format(
            "m2 of {} is off by a factor of {:.3g}: expected {:.6g}, got {:.6g}; do not subtract squares of the mean",
            calls[c].what, 1 + error, m2[0].item().toDouble(), got[0].item().toDouble()));
  }
}

// The counts of a long run: what is merged is given, since nobody draws so many values.
SHARDLAB_CASE(norms, merge_moments_of_billions, kRobustness, {1}) {
  const std::vector<int64_t> counts = {3000000000, 1000000000};
  RunSpec spec;
  spec.body = "moments";
  const std::string what = "MergeMoments (counts of billions)";
  spec.params["calls"] = nlohmann::json::array({{{"what", what}, {"counts", counts}}});
  std::vector<at::Tensor> means, m2s;
  for (size_t p = 0; p < counts.size(); ++p) {
    means.push_back(t.Normal({3}));
    m2s.push_back(t.Normal({3}).abs() * static_cast<double>(counts[p]));
    spec.inputs[fmt::format("0.{}.mean", p)] = {means[p]};
    spec.inputs[fmt::format("0.{}.m2", p)] = {m2s[p]};
  }
  const Run run = t.Launch(spec);
  t.ExpectCost("the count of " + what, run.Number(0, "0.count"), 4e9, "values");
  t.ExpectClose(run, 0, "0.mean", 0.75 * means[0] + 0.25 * means[1], {"the mean of " + what});
  // n_0 n_1 / n (mean_0 - mean_1)^2 between two sets.
  const at::Tensor between = 0.75e9 * (means[0] - means[1]).square();
  t.ExpectClose(run, 0, "0.m2", m2s[0] + m2s[1] + between, {"m2 of " + what});
}

}  // namespace shardlab::grade
