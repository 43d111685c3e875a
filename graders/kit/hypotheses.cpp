#include "kit/hypotheses.hpp"

#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "shardlab/measure/memory.hpp"

namespace shardlab::grade {

const char* const kGradientsPileUp = "gradients add up over the steps, since nobody sets them to zero";
const char* const kSharedGradientChanged =
    "backward changes the incoming gradient, which another branch holds too: work on a copy";
const char* const kSumInForward =
    "the ranks' tensors are added up: forward does nothing, and the sum belongs into backward";

std::vector<Hypothesis> BiasMistakes(const std::string& bias_name, int64_t times, const Recompute& without,
                                     const at::Tensor& bias) {
  return {{bias_name + " is missing", without},
          {fmt::format("{} was added {} times, once by every rank before the sum; it belongs behind the sum", bias_name,
                       times),
           [=] { return without() + bias * times; }}};
}

std::string EqualWeights(const std::string& part) {
  return fmt::format("every {} counts the same, whatever its number of samples: a mean of means", part);
}

std::string LastOverwrites(const std::string& part) {
  return fmt::format("the gradient of the last {} overwrites those of the others: they add up", part);
}

Hypothesis LocalStatistics(const Recompute& with_local) {
  return {"the rank normalises by its own part alone; the statistics are those of all ranks' values together",
          with_local};
}

Hypothesis UnbiasedVariance(const std::string& count, const Recompute& with_unbiased) {
  return {fmt::format("the variance was divided by {0} - 1; a norm divides by {0}", count), with_unbiased};
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

at::Tensor LargeIntegers(CaseContext& t, const std::vector<int64_t>& shape, at::ScalarType dtype) {
  const int64_t high = int64_t{1} << (dtype == at::kLong ? 55 : 40);
  return (t.Integers(shape, at::kLong) * high + t.Integers(shape, at::kLong)).to(dtype);
}

Hypothesis RoundedSum(const std::vector<at::Tensor>& summands) {
  const bool whole = summands[0].scalar_type() == at::kLong;
  return {whole ? "the numbers are added up in float64, which cannot hold all digits of int64: keep the input's dtype"
                : "the numbers are added up in float32: keep the input's dtype",
          [=] {
            at::Tensor sum = summands[0].to(whole ? at::kDouble : at::kFloat);
            for (size_t i = 1; i < summands.size(); ++i) sum = sum + summands[i].to(sum.scalar_type());
            return sum.to(summands[0].scalar_type());
          }};
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
