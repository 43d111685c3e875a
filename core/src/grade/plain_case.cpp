#include <cstring>
#include <random>
#include <utility>

#include <fmt/format.h>

#include "judge.hpp"
#include "plain_frame.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/grade/plain_referee.hpp"

namespace shardlab::grade {

namespace {

/// What rank 0 handed back under `name`, of the type that it has to have.
const Frame& FrameOf(const CaseOutcome& outcome, const std::string& name, uint8_t dtype, const char* what) {
  const Frame* frame = nullptr;
  if (!outcome.ranks.empty()) {
    const auto found = outcome.ranks[0].outputs.find(name);
    if (found != outcome.ranks[0].outputs.end() && found->second.dtype == dtype) frame = &found->second;
  }
  if (frame == nullptr) throw ContractError(fmt::format("the body handed back no {} '{}'", what, name));
  return *frame;
}

}  // namespace

std::string PlainRun::Text(const std::string& name) const {
  const Frame& frame = FrameOf(outcome, name, kTextDtype, "text");
  return std::string(frame.bytes.begin(), frame.bytes.end());
}

double PlainRun::Number(const std::string& name) const {
  const Frame& frame = FrameOf(outcome, name, kNumberDtype, "number");
  double value = 0;
  if (frame.bytes.size() != sizeof value) throw ContractError(fmt::format("'{}' is not one number", name));
  std::memcpy(&value, frame.bytes.data(), sizeof value);
  return value;
}

std::vector<int64_t> PlainRun::Integers(const std::string& name) const {
  const Frame& frame = FrameOf(outcome, name, kIntegersDtype, "integers");
  std::vector<int64_t> values(frame.bytes.size() / sizeof(int64_t));
  if (!values.empty()) std::memcpy(values.data(), frame.bytes.data(), values.size() * sizeof(int64_t));
  return values;
}

uint64_t PlainCase::seed() const { return state_.seed; }

int64_t PlainCase::Integer(int64_t low, int64_t high) {
  if (low > high) throw ContractError(fmt::format("Integer({}, {}): there is no number between them", low, high));
  return std::uniform_int_distribution<int64_t>(low, high)(state_.random);
}

PlainRun PlainCase::Ask(const std::string& body, const nlohmann::json& params, double limit_s) {
  CaseRequest request;
  request.body = body;
  request.params = params;
  request.limit_s = limit_s;
  PlainRun run{state_.Run(request)};
  state_.RequireSuccess(run.outcome);
  return run;
}

void PlainCase::ExpectCost(const std::string& what, double measured, double target, const std::string& unit,
                           const std::vector<FigureHypothesis>& hypotheses) {
  ++state_.checks;
  state_.Measure({what, measured, target, unit, measured == target},
                 fmt::format("{}: {:.10g} {}; expected exactly {:.10g}", what, measured, unit, target), hypotheses);
}

void PlainCase::ExpectAtMost(const std::string& what, double measured, double target, const std::string& unit,
                             const std::vector<FigureHypothesis>& hypotheses) {
  ++state_.checks;
  state_.Measure({what, measured, target, unit, measured <= target},
                 fmt::format("{}: {:.6g} {}; at most {:.6g} is allowed", what, measured, unit, target), hypotheses);
}

void PlainCase::Expect(bool holds, const std::string& message) {
  ++state_.checks;
  if (!holds) state_.Conclude(Status::kFailed, message.empty() ? "an unnamed check failed" : message);
}

void PlainCase::Fail(const std::string& message) {
  ++state_.checks;
  state_.Conclude(Status::kFailed, message);
  throw CaseEnds();
}

PlainCaseRegistration::PlainCaseRegistration(const char* part, const char* name, Kind kind,
                                             PlainCaseFunction function) {
  RegisterCase({part, name, kind, {1}, [function](CaseState& state) {
                  PlainCase context(state);
                  function(context);
                }});
}

}  // namespace shardlab::grade
