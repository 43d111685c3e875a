#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "shardlab/grade/case.hpp"

/// \file
/// The referee's side of a plain case: one rank, no tensors, no LibTorch.
///
///     SHARDLAB_PLAIN_CASE(skips, the_slowest_stage_is_minimal, kValue) {
///       const PlainRun run = t.Ask("balance", {{"costs", {3, 1, 4}}, {"parts", 2}});
///       t.Expect(run.Integers("sizes") == std::vector<int64_t>{1, 2}, "costs 3 1 4 in two parts: 1 layer and 2");
///     }
///
/// It becomes one GoogleTest test ("pipeline.skips" "the_slowest_stage_is_minimal/ranks=1"). A case that checks nothing
/// fails.

namespace shardlab::grade {

/// What a plain body handed back. The getters throw ContractError when there is no such thing of that name.
struct PlainRun {
  /// Everything that the supervisor said of it.
  CaseOutcome outcome;

  /// A text.
  std::string Text(const std::string& name) const;
  /// A number.
  double Number(const std::string& name) const;
  /// A list of whole numbers.
  std::vector<int64_t> Integers(const std::string& name) const;
};

/// A mistake in a cost, and the figure that it gives: {"the root sends to every rank itself", 7}.
struct FigureHypothesis {
  std::string meaning;  ///< continues "this is what you get when ..."
  double value = 0;     ///< the figure with this mistake; said only if exactly this was measured
};

struct CaseState;

/// One case under way: what plain cases and those with tensors (CaseContext) have in common.
class PlainCase {
 public:
  /// For the referee itself.
  explicit PlainCase(CaseState& state) : state_(state) {}
  PlainCase(const PlainCase&) = delete;
  PlainCase& operator=(const PlainCase&) = delete;

  /// This case's seed, drawn from the run's seed and the case's name.
  uint64_t seed() const;
  /// A whole number in [low, high], drawn from the case's seed.
  int64_t Integer(int64_t low, int64_t high);

  /// Has one rank run a plain body. Ends the case, with the explanation, unless it returned.
  PlainRun Ask(const std::string& body, const nlohmann::json& params = nlohmann::json::object(), double limit_s = 10);

  /// \name Checks. The first that fails is the case's message.
  ///@{
  /// A figure that must be met exactly; it is shown beside its target on success too. `what` carries the formula:
  /// "bytes in all: 2(T - 1) * S". The first hypothesis whose value was measured is said.
  void ExpectCost(const std::string& what, double measured, double target, const std::string& unit,
                  const std::vector<FigureHypothesis>& hypotheses = {});
  /// A figure that must not exceed its target.
  void ExpectAtMost(const std::string& what, double measured, double target, const std::string& unit,
                    const std::vector<FigureHypothesis>& hypotheses = {});
  /// Anything else: `message` says what is wrong and what would be right.
  void Expect(bool holds, const std::string& message);
  /// Ends the case as failed.
  [[noreturn]] void Fail(const std::string& message);
  ///@}

 protected:
  /// What the referee keeps of this case.
  CaseState& state() const { return state_; }

 private:
  CaseState& state_;
};

/// What SHARDLAB_PLAIN_CASE defines.
using PlainCaseFunction = void (*)(PlainCase&);

/// Registers a plain case; use SHARDLAB_PLAIN_CASE.
struct PlainCaseRegistration {
  /// Makes the case known to the referee.
  PlainCaseRegistration(const char* part, const char* name, Kind kind, PlainCaseFunction function);
};

}  // namespace shardlab::grade

/// Defines a case of part `part` on one rank, without tensors.
#define SHARDLAB_PLAIN_CASE(part, name, kind)                                                       \
  static void ShardlabCase_##part##_##name(::shardlab::grade::PlainCase& t);                        \
  static const ::shardlab::grade::PlainCaseRegistration shardlab_case_registration_##part##_##name( \
      #part, #name, ::shardlab::grade::Kind::kind, ShardlabCase_##part##_##name);                   \
  static void ShardlabCase_##part##_##name([[maybe_unused]] ::shardlab::grade::PlainCase& t)
