#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "shardlab/grade/case.hpp"
#include "shardlab/grade/plain_referee.hpp"

/// \file
/// The referee's side of a case: draw inputs, have the ranks run, compute what one process gets, compare, explain.
///
///     SHARDLAB_CASE(ring, all_gather_values, kValue, {1, 2, 3, 4}) {
///       std::vector<at::Tensor> mine = t.PerRank([&](int) { return t.Integers({7}, at::kDouble); });
///       Run run = t.Launch({.body = "ring_all_gather", .inputs = {{"mine", mine}}});
///       for (int r = 0; r < t.ranks(); ++r) t.ExpectEqual(run, r, "gathered", at::stack(mine));
///     }
///
/// Each case becomes one GoogleTest test a number of ranks ("communication.ring" "all_gather_values/ranks=3"). A case
/// that checks nothing fails. When a run ends in any other way than by every body's return, Launch reports that and
/// ends the case.

namespace shardlab::grade {

/// A run that came back: every rank's outputs and what the run cost.
struct Run {
  /// Everything that the supervisor said of it.
  CaseOutcome outcome;

  /// What rank `rank` handed back under `name`; undefined when it did not.
  at::Tensor Output(int rank, const std::string& name) const;
  /// The number that rank `rank` handed back under `name`.
  double Number(int rank, const std::string& name) const;
  /// What the announcements of rank `rank` add up to.
  const RankCost& Cost(int rank) const;
  /// Over all ranks.
  RankCost TotalCost() const;
};

/// What Launch needs. Inputs: by name, one tensor a rank (or one for all, with a single element); undefined: not given.
struct RunSpec {
  std::string body = "";                                       ///< registered with SHARDLAB_BODY
  std::map<std::string, std::vector<at::Tensor>> inputs = {};  ///< see above
  nlohmann::json params = nlohmann::json::object();            ///< small values, the same on every rank
  double limit_s = 10;                                         ///< wall-clock time for all ranks together
  int threads = 1;                                             ///< OpenMP threads a rank
  bool point_to_point_only = false;                            ///< the communicator refuses collectives
  FaultSpec faults = {};                                       ///< trouble to make on purpose
  /// Says a deadlock in the words of the task, where calls of the communicator are not what the student wrote. Empty,
  /// or returns "": it is said as these calls.
  std::function<std::string(const CaseOutcome&)> explain_deadlock = nullptr;
};

/// A mistake that students make, and what the tensor would be with it. It is a hypothesis: its meaning is said only
/// when what came equals `value` to 1e-9 of its norm and `value` is not the right one. See graders/kit/hypotheses.hpp for makers.
struct Hypothesis {
  /// Continues "this is what you get when ...": "the bias is added 4 times, once by every rank before the sum".
  std::string meaning;
  /// Computes it; called only when the tensor is wrong. Undefined: does not apply. It may have another shape than the
  /// right value.
  std::function<at::Tensor()> value;
};

/// A number that a result may be too large or too small by: {"replicas", 4}.
struct Factor {
  std::string of;     ///< what it counts, in the plural: "replicas", "micro-batches", "tiles"
  int64_t value = 1;  ///< how many there are; 1 says nothing
};

/// What a tensor is, for a person: where it stands in the model and how a rank's part lies in the whole. The more of
/// it is given, the more mistakes are recognised; only `what` is needed.
struct Label {
  std::string what = "";                    ///< "gradient of layer1.weight"
  std::vector<int64_t> offset = {};         ///< index of the part's first element in the full tensor; empty: the whole
  std::vector<Hypothesis> hypotheses = {};  ///< tested in this order when the tensor is wrong, before the general ones
  std::vector<Factor> factors = {};         ///< besides the number of ranks, which always counts
  /// By rank: the right value is their sum. Tells which rank's is missing, counted twice, or alone.
  std::vector<at::Tensor> summands = {};
  /// By rank: the right value is these, one behind the other along `dim`. Tells in which wrong order they lie.
  std::vector<at::Tensor> pieces = {};
  int64_t dim = 0;  ///< see `pieces`
  /// By rank: what each of them should have. Tells when one has another's.
  std::vector<at::Tensor> of_ranks = {};
};

/// One case with tensors under way. Beside what is here it has everything of a plain case: Integer, Ask, ExpectCost,
/// ExpectAtMost, Expect, Fail.
class CaseContext : public PlainCase {
 public:
  virtual ~CaseContext() = default;

  /// On how many ranks this case runs.
  int ranks() const { return ranks_; }

  /// \name Inputs, drawn from the case's seed
  ///@{
  /// Small integers (-8 .. 8), so that sums in any order are exact, of any dtype.
  virtual at::Tensor Integers(const std::vector<int64_t>& shape, at::ScalarType dtype) = 0;
  /// Standard normal, float64 unless told otherwise.
  virtual at::Tensor Normal(const std::vector<int64_t>& shape, at::ScalarType dtype = at::kDouble) = 0;
  /// One a rank: make(0), make(1), ...
  template <typename Make>
  std::vector<at::Tensor> PerRank(Make make) const {
    std::vector<at::Tensor> all;
    for (int rank = 0; rank < ranks_; ++rank) all.push_back(make(rank));
    return all;
  }
  ///@}

  /// Has the ranks run a body. Ends the case, with the explanation, unless all of them returned.
  virtual Run Launch(const RunSpec& spec) = 0;
  /// As Launch, for cases that expect trouble: any outcome comes back.
  virtual Run Try(const RunSpec& spec) = 0;

  /// \name Checks of tensors. The first that fails is the case's message.
  ///@{
  /// Same shape, same dtype, same values (zeros of either sign are equal, and so are NaNs).
  virtual void ExpectEqual(const Run& run, int rank, const std::string& output, const at::Tensor& expected,
                           const Label& label = {}) = 0;
  /// The rule of equality: |g - r| <= steps * 1e-10 * max(|r|, 1e-3 * scale) in the norm of the tensor, where scale is
  /// |all reference gradients| / sqrt(number of tensors), 0 if there is only this one.
  virtual void ExpectClose(const Run& run, int rank, const std::string& output, const at::Tensor& expected,
                           const Label& label = {}, double scale = 0, double steps = 1) = 0;
  /// A learning curve: every step's loss within its tolerance of the reference's. It is drawn (see Curve) either way. A
  /// hypothesis' value is the curve with that mistake, float64 [steps].
  virtual void ExpectCurve(const std::string& name, const std::vector<double>& run,
                           const std::vector<double>& reference, const std::vector<double>& tolerance,
                           const std::vector<Hypothesis>& hypotheses = {}) = 0;
  /// A learning curve for the report: the run's losses over the reference's, with the tolerance at every step.
  virtual void Curve(const std::string& name, const std::vector<double>& run, const std::vector<double>& reference,
                     const std::vector<double>& tolerance) = 0;
  ///@}

 protected:
  /// For the referee's own implementation.
  CaseContext(CaseState& state, int ranks) : PlainCase(state), ranks_(ranks) {}

 private:
  int ranks_;
};

/// What SHARDLAB_CASE defines.
using CaseFunction = void (*)(CaseContext&);

/// Registers a case; use SHARDLAB_CASE.
struct CaseRegistration {
  /// Makes the case known to the referee, once for each number of ranks.
  CaseRegistration(const char* part, const char* name, Kind kind, std::vector<int> ranks, CaseFunction function);
};

}  // namespace shardlab::grade

/// Defines a case of part `part` for each number of ranks in the list.
#define SHARDLAB_CASE(part, name, kind, ...)                                                   \
  static void ShardlabCase_##part##_##name(::shardlab::grade::CaseContext& t);                 \
  static const ::shardlab::grade::CaseRegistration shardlab_case_registration_##part##_##name( \
      #part, #name, ::shardlab::grade::Kind::kind, __VA_ARGS__, ShardlabCase_##part##_##name); \
  static void ShardlabCase_##part##_##name([[maybe_unused]] ::shardlab::grade::CaseContext& t)
