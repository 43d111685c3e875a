#include "kit/equal_training.hpp"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>

namespace shardlab::grade {

std::vector<double> CurveTolerance(const std::vector<double>& reference) {
  std::vector<double> tolerance;
  for (const double loss : reference) {
    tolerance.push_back(1e-10 * static_cast<double>(tolerance.size() + 1) * std::max(1.0, std::abs(loss)));
  }
  return tolerance;
}

double ScaleOf(const NamedTensors& tensors) {
  double squares = 0;
  for (const auto& [name, value] : tensors) squares += value.square().sum().item().toDouble();
  return tensors.empty() ? 0 : std::sqrt(squares / static_cast<double>(tensors.size()));
}

std::vector<double> LossesOf(CaseContext& t, const Run& run, int rank, const std::string& output, size_t steps,
                             const std::string& missing) {
  const at::Tensor losses = run.Output(rank, output);
  t.Expect(losses.defined() && losses.scalar_type() == at::kDouble && losses.numel() == static_cast<int64_t>(steps),
           missing);
  const auto* const values = losses.data_ptr<double>();
  return {values, values + steps};
}

void ExpectLosses(CaseContext& t, const std::string& name, const std::vector<double>& losses,
                  const std::vector<double>& reference, const std::vector<Hypothesis>& hypotheses) {
  t.ExpectCurve(name, losses, reference, CurveTolerance(reference), hypotheses);
}

}  // namespace shardlab::grade
