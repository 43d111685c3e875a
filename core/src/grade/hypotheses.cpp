#include "shardlab/grade/hypotheses.hpp"

#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "shardlab/measure/memory.hpp"

namespace shardlab::grade {

Hypothesis BiasAddedTimes(int64_t times, const Recompute& without, const at::Tensor& bias) {
  const std::string meaning =
      times == 0 ? "the bias is not added"
                 : fmt::format("the bias is added {} times, once by every summand; it belongs behind the sum", times);
  return {meaning, [=] { return without() + bias * times; }};
}

std::vector<Hypothesis> PartsCountedWrongly(const std::string& part, const std::vector<at::Tensor>& contributions) {
  std::vector<Hypothesis> all;
  const size_t n = contributions.size();
  if (n < 2) return all;
  const auto sum = [contributions] { return at::stack(contributions).sum(0); };
  all.push_back({fmt::format("the last {} overwrites the others: only its contribution is there", part),
                 [=] { return contributions.back(); }});
  for (size_t i = 0; i < n; ++i) {
    const std::string name = fmt::format("{} {} (of {}, from 0)", part, i, n);
    all.push_back({name + " is missing", [=] { return sum() - contributions[i]; }});
    all.push_back({name + " is counted twice", [=] { return sum() + contributions[i]; }});
  }
  return all;
}

Hypothesis MeanOfMeans(const std::string& parts, const std::vector<at::Tensor>& means) {
  return {
      fmt::format("the means of the {} are averaged, as if all had the same number of samples: a mean of means", parts),
      [means] { return at::stack(means).mean(0); }};
}

Hypothesis GradientsOfEarlierSteps(const std::vector<at::Tensor>& gradients) {
  return {
      "the gradients of earlier steps are still in it: they accumulate until somebody sets them to zero (zero_grad)",
      [gradients] { return at::stack(gradients).sum(0); }};
}

Hypothesis LocalStatistics(const Recompute& with_local) {
  return {"the rank normalises by its own values alone: the statistics are those of all ranks' values together",
          with_local};
}

Hypothesis UnbiasedVariance(const Recompute& with_unbiased) {
  return {"the variance is divided by n - 1: a norm divides by n, the number of values", with_unbiased};
}

Hypothesis StaleWeights(const Recompute& with_previous) {
  return {"the weights are stale by one version: those before the last update", with_previous};
}

Hypothesis NewestWeights(const Recompute& with_newest) {
  return {"backward uses the newest weights, and not those that were stashed in forward", with_newest};
}

Hypothesis OtherDropoutMask(const Recompute& with_other_mask) {
  return {"the recomputed forward draws a new dropout mask: the random state must be the one of the first forward",
          with_other_mask};
}

Hypothesis HaloTakenAsZero(const Recompute& with_zeros) {
  return {"the halo is taken as zero: the neighbours' values are missing at the borders of the tile", with_zeros};
}

Hypothesis PaddingNotRestored(const Recompute& without_restoring) {
  return {"what lies outside the image is not set back to the padding value after every layer", without_restoring};
}

at::Tensor NeverWrittenLike(const at::Tensor& tensor) {
  at::Tensor result = at::empty(tensor.sizes(), tensor.options());
  auto* bytes = static_cast<char*>(result.data_ptr());
  for (size_t i = 0; i < result.nbytes(); ++i) bytes[i] = static_cast<char>(kNewMemoryWord >> (i % 2 == 0 ? 0 : 8));
  return result;
}

std::vector<Hypothesis> PartlyWritten(const std::string& meaning, const at::Tensor& whole,
                                      const std::function<void(const at::Tensor& result)>& value) {
  const auto filled = [value](const at::Tensor& result) {
    value(result);
    return result;
  };
  return {{meaning, [=] { return filled(NeverWrittenLike(whole)); }},
          {meaning, [=] { return filled(at::zeros(whole.sizes(), whole.options())); }}};
}

std::string Explained(double measured, double right, const std::vector<FigureHypothesis>& hypotheses) {
  const auto same = [&](double value) { return std::abs(measured - value) <= 1e-9 * std::abs(value); };
  if (same(right)) return "";
  for (const FigureHypothesis& hypothesis : hypotheses) {
    if (same(hypothesis.value)) return "\n  this is what you get when " + hypothesis.meaning;
  }
  return "";
}

struct MistakenRun::Once {
  std::function<Outputs()> repeat;
  std::optional<Outputs> outputs;

  at::Tensor Get(const std::string& name) {
    if (!outputs) outputs = repeat();
    const auto found = outputs->find(name);
    return found == outputs->end() ? at::Tensor() : found->second;
  }
};

MistakenRun::MistakenRun(std::string meaning, std::function<Outputs()> repeat)
    : meaning_(std::move(meaning)), once_(std::make_shared<Once>()) {
  once_->repeat = std::move(repeat);
}

Hypothesis MistakenRun::For(const std::string& output) const {
  return {meaning_, [once = once_, output] { return once->Get(output); }};
}

std::vector<Hypothesis> For(const std::string& output, const std::vector<MistakenRun>& runs) {
  std::vector<Hypothesis> hypotheses;
  for (const MistakenRun& run : runs) hypotheses.push_back(run.For(output));
  return hypotheses;
}

void Append(std::vector<Hypothesis>& hypotheses, std::vector<Hypothesis> more) {
  for (Hypothesis& one : more) hypotheses.push_back(std::move(one));
}

}  // namespace shardlab::grade
