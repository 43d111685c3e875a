#include "judge.hpp"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include "compare.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/launch/process.hpp"
#include "tensor_frame.hpp"

namespace shardlab::grade {

namespace {

std::vector<RegisteredCase>& Cases() {
  static std::vector<RegisteredCase> cases;
  return cases;
}

/// Ends a case: what it says is already known.
struct CaseEnds {};

/// A seed that follows from the run's seed and the case's name, so that a case draws the same inputs whatever other
/// cases are run.
uint64_t SeedOf(uint64_t run_seed, const std::string& text) {
  uint64_t hash = 0xcbf29ce484222325u ^ run_seed;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  hash ^= hash >> 31;
  hash *= 0x9e3779b97f4a7c15u;
  return hash ^ (hash >> 29);
}

/// A figure beside its target.
struct MeasuredFigure {
  std::string what;
  double measured;
  double target;
  std::string unit;
  bool met;
};

/// The figures of a case that passed, in one line.
std::string OnSuccess(const std::vector<MeasuredFigure>& figures) {
  std::string text;
  for (const MeasuredFigure& figure : figures) {
    text += fmt::format("{}{}: {:.6g} {} (target {:.6g})", text.empty() ? "" : "; ", figure.what, figure.measured,
                        figure.unit, figure.target);
  }
  return text;
}

/// The figures of a case that failed, a line each: those that are off first, and of those that are met a few.
std::string OnFailure(const std::vector<MeasuredFigure>& figures) {
  constexpr size_t kMost = 6;
  if (figures.empty()) return "";
  std::string text = "\n  measured beside the target:";
  size_t shown = 0;
  for (const bool met : {false, true}) {
    for (const MeasuredFigure& figure : figures) {
      if (figure.met != met || shown == kMost) continue;
      ++shown;
      text += fmt::format("\n    {} {}: {:.10g} {}, target {:.10g}", met ? " " : "*", figure.what, figure.measured,
                          figure.unit, figure.target);
    }
  }
  if (shown < figures.size()) text += fmt::format("\n      and {} more", figures.size() - shown);
  return text;
}

nlohmann::json AsJson(const std::vector<MeasuredFigure>& figures) {
  nlohmann::json list = nlohmann::json::array();
  for (const MeasuredFigure& figure : figures) {
    list.push_back({{"what", figure.what},
                    {"measured", figure.measured},
                    {"target", figure.target},
                    {"unit", figure.unit},
                    {"met", figure.met}});
  }
  return list;
}

std::string Indented(const std::string& text, size_t max_lines) {
  std::string out;
  size_t lines = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    if (lines++ == max_lines) {
      out += "\n    ...";
      break;
    }
    out += "\n    " + text.substr(begin, end - begin);
    begin = end + 1;
  }
  return out;
}

class Case final : public CaseContext {
 public:
  Case(const PlannedCase& planned, uint64_t seed, Arena& arena)
      : CaseContext(planned.ranks, seed),
        planned_(planned),
        arena_(arena),
        generator_(at::detail::createCPUGenerator(seed)) {}

  CaseResult& result() { return result_; }
  int checks() const { return checks_; }
  const CaseOutcome& last_outcome() const { return last_outcome_; }
  const std::vector<MeasuredFigure>& figures() const { return figures_; }

  at::Tensor Integers(const std::vector<int64_t>& shape, at::ScalarType dtype) override {
    const bool no_sign = dtype == at::kByte || dtype == at::kBool;
    const int64_t low = no_sign ? 0 : -8;
    const int64_t high = dtype == at::kBool ? 2 : 9;
    return at::randint(low, high, shape, generator_, at::TensorOptions().dtype(at::kLong)).to(dtype);
  }
  at::Tensor Normal(const std::vector<int64_t>& shape, at::ScalarType dtype) override {
    return at::randn(shape, generator_, at::TensorOptions().dtype(at::kDouble)).to(dtype);
  }
  int64_t Integer(int64_t low, int64_t high) override {
    if (low > high) throw ContractError(fmt::format("Integer({}, {}): there is no number between them", low, high));
    return at::randint(low, high + 1, {}, generator_, at::TensorOptions().dtype(at::kLong)).item<int64_t>();
  }

  Run Launch(const RunSpec& spec) override {
    Run run = Try(spec);
    if (run.outcome.status != Status::kPassed) {
      Conclude(run.outcome.status, run.outcome.message);
      throw CaseEnds();
    }
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
    request.inputs.resize(static_cast<size_t>(ranks()));
    for (const auto& [name, tensors] : spec.inputs) {
      if (tensors.size() != 1 && static_cast<int>(tensors.size()) != ranks()) {
        throw ContractError(
            fmt::format("the input '{}' has {} tensors: give one for each of the {} ranks, or a single one", name,
                        tensors.size(), ranks()));
      }
      for (int rank = 0; rank < ranks(); ++rank) {
        const at::Tensor& tensor = tensors.size() == 1 ? tensors[0] : tensors[static_cast<size_t>(rank)];
        if (tensor.defined()) request.inputs[static_cast<size_t>(rank)][name] = FrameFrom(tensor);
      }
    }
    Run run;
    run.outcome = arena_.Run(request);
    last_outcome_ = run.outcome;
    // The events can be large, and the report of a failure does not need them twice.
    last_outcome_.events.clear();
    if (run.outcome.status == Status::kSkipped) {
      Conclude(Status::kSkipped, run.outcome.message);
      throw CaseEnds();
    }
    return run;
  }

  void ExpectEqual(const Run& run, int rank, const std::string& output, const at::Tensor& expected,
                   const Label& label) override {
    ++checks_;
    const at::Tensor got = Got(run, rank, output, label);
    if (!got.defined()) return;
    Conclude(EqualDifference(got, expected.detach(), SubjectOf(rank, output, label)));
  }

  void ExpectClose(const Run& run, int rank, const std::string& output, const at::Tensor& expected, const Label& label,
                   double scale, double steps) override {
    ++checks_;
    const at::Tensor got = Got(run, rank, output, label);
    if (!got.defined()) return;
    const double size = expected.numel() == 0 ? 0 : expected.detach().to(at::kDouble).norm().item<double>();
    const double tolerance = steps * 1e-10 * std::max(size, 1e-3 * scale);
    Conclude(CloseDifference(got, expected.detach(), tolerance, SubjectOf(rank, output, label)));
  }

  void ExpectCost(const std::string& what, double measured, double target, const std::string& unit,
                  const std::vector<FigureHypothesis>& hypotheses) override {
    ++checks_;
    Figure(what, measured, target, unit, measured == target,
           fmt::format("{}: {:.10g} {}; expected exactly {:.10g}", what, measured, unit, target), hypotheses);
  }
  void ExpectAtMost(const std::string& what, double measured, double target, const std::string& unit,
                    const std::vector<FigureHypothesis>& hypotheses) override {
    ++checks_;
    Figure(what, measured, target, unit, measured <= target,
           fmt::format("{}: {:.6g} {}; at most {:.6g} is allowed", what, measured, unit, target), hypotheses);
  }
  void ExpectCurve(const std::string& name, const std::vector<double>& run, const std::vector<double>& reference,
                   const std::vector<double>& tolerance, const std::vector<Hypothesis>& hypotheses) override {
    ++checks_;
    Curve(name, run, reference, tolerance);
    Conclude(CurveDifference(name, run, reference, tolerance, hypotheses));
  }

  void Expect(bool holds, const std::string& message) override {
    ++checks_;
    if (!holds) Conclude(Status::kFailed, message.empty() ? "an unnamed check failed" : message);
  }

  void Fail(const std::string& message) override {
    ++checks_;
    Conclude(Status::kFailed, message);
    throw CaseEnds();
  }

  void Curve(const std::string& name, const std::vector<double>& run, const std::vector<double>& reference,
             const std::vector<double>& tolerance) override {
    if (run.size() != reference.size() || tolerance.size() != reference.size()) {
      throw ContractError(fmt::format("the curve '{}' has {} steps, its reference {} and its tolerance {}", name,
                                      run.size(), reference.size(), tolerance.size()));
    }
    arena_.Draw({planned_.part, planned_.id, name, run, reference, tolerance});
  }

  /// The first conclusion is the case's.
  void Conclude(Status status, const std::string& message) {
    if (concluded_) return;
    concluded_ = true;
    result_.status = status;
    result_.message = message;
  }

 private:
  void Conclude(const Difference& difference) {
    if (difference.message.empty() || concluded_) return;
    Conclude(Status::kFailed, difference.message);
    if (!difference.tensor.is_null()) result_.evidence["tensor"] = difference.tensor;
    if (!difference.diagnosis.empty()) result_.evidence["diagnosis"] = difference.diagnosis;
  }

  at::Tensor Got(const Run& run, int rank, const std::string& output, const Label& label) {
    const at::Tensor got = run.Output(rank, output);
    if (!got.defined()) {
      Conclude(Status::kFailed, fmt::format("{} on rank {} is missing: the tensor that should be there is undefined",
                                            label.what.empty() ? output : label.what, rank));
    }
    return got;
  }

  Subject SubjectOf(int rank, const std::string& output, const Label& label) const {
    Subject subject{label, rank, ranks()};
    if (subject.label.what.empty()) subject.label.what = output;
    return subject;
  }

  void Figure(const std::string& what, double measured, double target, const std::string& unit, bool met,
              std::string failure, const std::vector<FigureHypothesis>& hypotheses) {
    figures_.push_back({what, measured, target, unit, met});
    // The figure that is shown beside its target: the first that is not met, or else the first.
    if (!result_.has_figure || (!met && !figure_missed_)) {
      result_.has_figure = true;
      result_.measured = measured;
      result_.target = target;
      result_.unit = unit;
    }
    figure_missed_ = figure_missed_ || !met;
    if (met || concluded_) return;
    for (const FigureHypothesis& hypothesis : hypotheses) {
      if (hypothesis.value != measured || hypothesis.value == target) continue;
      const std::string diagnosis = "this is what you get when " + hypothesis.meaning;
      failure += "\n  " + diagnosis;
      result_.evidence["diagnosis"] = diagnosis;
      break;
    }
    Conclude(Status::kFailed, failure);
  }

  const PlannedCase& planned_;
  Arena& arena_;
  at::Generator generator_;
  CaseResult result_;
  CaseOutcome last_outcome_;
  std::vector<MeasuredFigure> figures_;
  int checks_ = 0;
  bool concluded_ = false;
  bool figure_missed_ = false;
};

/// What the student's code printed in the run that the message is about.
std::string Printed(const CaseOutcome& outcome) {
  std::string text;
  for (size_t rank = 0; rank < outcome.ranks.size(); ++rank) {
    const std::string& printed = outcome.ranks[rank].printed;
    if (!printed.empty()) text += fmt::format("\n  rank {} printed:{}", rank, Indented(printed, 12));
  }
  return text;
}

}  // namespace

CaseRegistration::CaseRegistration(const char* part, const char* name, Kind kind, std::vector<int> ranks,
                                   CaseFunction function) {
  Cases().push_back({part, name, kind, std::move(ranks), function});
}

const std::vector<RegisteredCase>& RegisteredCases() { return Cases(); }

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

CaseResult Judge(const RegisteredCase& entry, const PlannedCase& planned, uint64_t run_seed, Arena& arena) {
  const int64_t begin_ns = launch::MonotonicNs();
  Case context(planned, SeedOf(run_seed, planned.part + "/" + planned.id), arena);
  try {
    entry.function(context);
    if (context.checks() == 0) context.Conclude(Status::kFailed, "this case checks nothing, so nothing can pass it");
    context.Conclude(Status::kPassed, OnSuccess(context.figures()));
  } catch (const CaseEnds&) {
  } catch (const ContractError& error) {
    context.Conclude(Status::kFailed, fmt::format("the grader of this case is wrong: {}", error.what()));
  } catch (const std::exception& error) {
    context.Conclude(Status::kFailed, fmt::format("the grader could not judge this: {}", Brief(error)));
  }
  CaseResult result = context.result();
  if (!context.figures().empty()) result.evidence["figures"] = AsJson(context.figures());
  if (result.status == Status::kFailed) result.message += OnFailure(context.figures());
  if (result.status != Status::kPassed && result.status != Status::kNotImplemented) {
    result.message += Printed(context.last_outcome());
  }
  result.part = planned.part;
  result.id = planned.id;
  result.kind = planned.kind;
  result.seconds = static_cast<double>(launch::MonotonicNs() - begin_ns) / 1e9;
  return result;
}

}  // namespace shardlab::grade
