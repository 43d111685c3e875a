#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "shardlab/grade/referee.hpp"

// Part norms: moments of parts, merged.

namespace shardlab::grade {
namespace {

// What merged moments may be. x [sets, values], the parts one behind the other.
class MomentMistakes {
 public:
  MomentMistakes(const at::Tensor& x, const std::vector<int64_t>& counts)
      : mean_(x.size(1) > 0 ? x.mean(1) : x.sum(1)) {
    for (const at::Tensor& part : x.split_with_sizes(counts, 1)) {
      if (part.size(1) > 0) parts_.push_back(part);
    }
  }

  std::vector<Hypothesis> OfMean() const {
    return {{"it is the mean of the parts' means, not weighted by their counts",
             [=] { return parts_.empty() ? at::Tensor() : at::stack(Means()).mean(0); }},
            {"it is the sum of the parts' means",
             [=] { return parts_.empty() ? at::Tensor() : at::stack(Means()).sum(0); }}};
  }
  std::vector<Hypothesis> OfM2() const {
    return {{"it forgets how far the parts' means lie apart: sum n_t (mean_t - mean)^2 is missing",
             [=] { return Within(); }},
            {"the squares (mean_t - mean)^2 are not weighted: each counts n_t times", [=] {
               at::Tensor m2 = Within();
               for (const at::Tensor& mean : Means()) m2 = m2 + (mean - mean_).square();
               return m2;
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
  std::vector<at::Tensor> parts_;
};

}  // namespace

SHARDLAB_CASE(norms, merge_moments, kValue, {1}) {
  struct Call {
    std::string what;
    at::ScalarType dtype;
    double mean;
    std::vector<int64_t> counts;
  };
  const std::vector<Call> calls = {{"MergeMoments (counts 3, 5, 2)", at::kDouble, 0, {3, 5, 2}},
                                   {"MergeMoments (one part)", at::kDouble, 1, {4}},
                                   {"MergeMoments (a part of count 0 whose mean is NaN)", at::kDouble, 2, {3, 0, 4}},
                                   {"MergeMoments (float32, mean 1000)", at::kFloat, 1000, {40, 1, 23}},
                                   {"MergeMoments (nothing at all)", at::kDouble, 0, {0, 0}}};
  constexpr int64_t kSets = 3;
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
      const at::Tensor x = (t.Normal({kSets, calls[c].counts[p]}) + calls[c].mean).to(calls[c].dtype).to(at::kDouble);
      const bool empty = calls[c].counts[p] == 0;
      const at::Tensor mean =
          empty ? at::full({kSets}, std::numeric_limits<double>::quiet_NaN(), at::kDouble) : x.mean(1);
      const at::Tensor m2 = empty ? mean : (x - mean.unsqueeze(1)).square().sum(1);
      const std::string part = i + "." + std::to_string(p);
      spec.inputs[part + ".mean"] = {mean.to(calls[c].dtype)};
      spec.inputs[part + ".m2"] = {m2.to(calls[c].dtype)};
      values.push_back(x);
    }
    values_of_call.push_back(at::cat(values, 1));
  }
  const Run run = t.Launch(spec);
  for (size_t c = 0; c < calls.size(); ++c) {
    const std::string i = std::to_string(c);
    const at::Tensor& x = values_of_call[c];
    const bool empty = x.size(1) == 0;
    const at::Tensor mean = empty ? at::zeros({kSets}, at::kDouble) : x.mean(1);
    const at::Tensor m2 = (x - mean.unsqueeze(1)).square().sum(1);
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
      const MomentMistakes mistakes(x, calls[c].counts);
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
    const double error = ((got.to(at::kDouble) - m2) / m2).abs().max().item().toDouble();
    t.Expect(
        error < 1e-3,
        fmt::format(
            "m2 of {} is off by a factor of {:.3g}: expected {:.6g}, got {:.6g}; do not subtract squares of the mean",
            calls[c].what, 1 + error, m2[0].item().toDouble(), got[0].item().toDouble()));
  }
}

}  // namespace shardlab::grade
