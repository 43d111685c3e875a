// Cases with tensors: what they draw, hand to the ranks and compare. See judge.hpp for the rest.

#include <algorithm>
#include <cmath>
#include <utility>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>
#include <torch/version.h>

#include "compare.hpp"
#include "judge.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/grade/referee.hpp"
#include "tensor_frame.hpp"

namespace shardlab::grade {

namespace {

class Case final : public CaseContext {
 public:
  explicit Case(CaseState& state)
      : CaseContext(state, state.listed.ranks), generator_(at::detail::createCPUGenerator(state.seed)) {}

  at::Tensor Integers(const std::vector<int64_t>& shape, at::ScalarType dtype) override {
    const bool no_sign = dtype == at::kByte || dtype == at::kBool;
    const int64_t low = no_sign ? 0 : -8;
    const int64_t high = dtype == at::kBool ? 2 : 9;
    return at::randint(low, high, shape, generator_, at::TensorOptions().dtype(at::kLong)).to(dtype);
  }
  at::Tensor Normal(const std::vector<int64_t>& shape, at::ScalarType dtype) override {
    return at::randn(shape, generator_, at::TensorOptions().dtype(at::kDouble)).to(dtype);
  }

  Run Launch(const RunSpec& spec) override {
    Run run = Try(spec);
    state().RequireSuccess(run.outcome);
    return run;
  }

  Run Try(const RunSpec& spec) override {
    CaseRequest request;
    request.body = spec.body;
    request.ranks = ranks();
    request.params = spec.params;
    request.limit_s = spec.limit_s;
    request.threads = spec.threads;
    request.point_to_point_only = spec.point_to_point_only;
    request.faults = spec.faults;
    std::vector<Frames> inputs(static_cast<size_t>(ranks()));
    for (const auto& [name, tensors] : spec.inputs) {
      if (tensors.size() != 1 && static_cast<int>(tensors.size()) != ranks()) {
        throw ContractError(
            fmt::format("the input '{}' has {} tensors: give one for each of the {} ranks, or a single one", name,
                        tensors.size(), ranks()));
      }
      for (int rank = 0; rank < ranks(); ++rank) {
        const at::Tensor& tensor = tensors.size() == 1 ? tensors[0] : tensors[static_cast<size_t>(rank)];
        if (tensor.defined()) inputs[static_cast<size_t>(rank)][name] = FrameFrom(tensor);
      }
    }
    for (const Frames& frames : inputs) request.inputs.push_back(EncodeFrames(frames));
    Run run{state().Run(request)};
    if (run.outcome.status == Status::kDeadlock && spec.explain_deadlock) {
      const std::string told = spec.explain_deadlock(run.outcome);
      if (!told.empty()) run.outcome.message = told;
    }
    return run;
  }

  void ExpectEqual(const Run& run, int rank, const std::string& output, const at::Tensor& expected,
                   const Label& label) override {
    ++state().checks;
    const at::Tensor got = Got(run, rank, output, label);
    if (!got.defined()) return;
    Conclude(EqualDifference(got, expected.detach(), SubjectOf(rank, output, label)));
  }

  void ExpectClose(const Run& run, int rank, const std::string& output, const at::Tensor& expected, const Label& label,
                   double scale, double steps) override {
    ++state().checks;
    const at::Tensor got = Got(run, rank, output, label);
    if (!got.defined()) return;
    const double size = expected.numel() == 0 ? 0 : expected.detach().to(at::kDouble).norm().item<double>();
    const double tolerance = steps * 1e-10 * std::max(size, 1e-3 * scale);
    Conclude(CloseDifference(got, expected.detach(), tolerance, SubjectOf(rank, output, label)));
  }

  void ExpectCurve(const std::string& name, const std::vector<double>& run, const std::vector<double>& reference,
                   const std::vector<double>& tolerance, const std::vector<Hypothesis>& hypotheses) override {
    ++state().checks;
    Curve(name, run, reference, tolerance);
    Conclude(CurveDifference(name, run, reference, tolerance, hypotheses));
  }

  void Curve(const std::string& name, const std::vector<double>& run, const std::vector<double>& reference,
             const std::vector<double>& tolerance) override {
    if (run.size() != reference.size() || tolerance.size() != reference.size()) {
      throw ContractError(fmt::format("the curve '{}' has {} steps, its reference {} and its tolerance {}", name,
                                      run.size(), reference.size(), tolerance.size()));
    }
    state().arena.Draw({state().listed.part, state().listed.id, name, run, reference, tolerance});
  }

 private:
  void Conclude(const Difference& difference) {
    if (difference.message.empty() || state().concluded) return;
    state().Conclude(Status::kFailed, difference.message);
    if (!difference.tensor.is_null()) state().result.evidence["tensor"] = difference.tensor;
    if (!difference.diagnosis.empty()) state().result.evidence["diagnosis"] = difference.diagnosis;
  }

  at::Tensor Got(const Run& run, int rank, const std::string& output, const Label& label) {
    const at::Tensor got = run.Output(rank, output);
    if (!got.defined()) {
      state().Conclude(Status::kFailed,
                       fmt::format("{} on rank {} is missing: the tensor that should be there is undefined",
                                   label.what.empty() ? output : label.what, rank));
    }
    return got;
  }

  Subject SubjectOf(int rank, const std::string& output, const Label& label) const {
    Subject subject{label, rank, ranks()};
    if (subject.label.what.empty()) subject.label.what = output;
    return subject;
  }

  at::Generator generator_;
};

}  // namespace

CaseRegistration::CaseRegistration(const char* part, const char* name, Kind kind, std::vector<int> ranks,
                                   CaseFunction function) {
  SetLibTorchOfCases(TORCH_VERSION);
  RegisterCase({part, name, kind, std::move(ranks), [function](CaseState& state) {
                  Case context(state);
                  function(context);
                }});
}

at::Tensor Run::Output(int rank, const std::string& name) const {
  if (rank < 0 || rank >= static_cast<int>(outcome.ranks.size())) {
    throw ContractError(fmt::format("there is no rank {} in a run of {}", rank, outcome.ranks.size()));
  }
  const Frames& outputs = outcome.ranks[static_cast<size_t>(rank)].outputs;
  const auto found = outputs.find(name);
  return found == outputs.end() ? at::Tensor() : TensorFrom(found->second);
}

double Run::Number(int rank, const std::string& name) const {
  const at::Tensor value = Output(rank, name);
  if (!value.defined() || value.numel() != 1) {
    throw ContractError(fmt::format("rank {} handed back no number '{}'", rank, name));
  }
  return value.to(at::kDouble).item<double>();
}

const RankCost& Run::Cost(int rank) const {
  if (rank < 0 || rank >= static_cast<int>(outcome.costs.size())) {
    throw ContractError(fmt::format("there is no rank {} in a run of {}", rank, outcome.costs.size()));
  }
  return outcome.costs[static_cast<size_t>(rank)];
}

RankCost Run::TotalCost() const {
  RankCost total;
  for (const RankCost& cost : outcome.costs) {
    total.messages += cost.messages;
    total.bytes_sent += cost.bytes_sent;
    total.rounds = std::max(total.rounds, cost.rounds);
    total.collectives += cost.collectives;
    total.collective_bytes += cost.collective_bytes;
  }
  return total;
}

}  // namespace shardlab::grade
