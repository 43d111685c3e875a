#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "shardlab/grade/referee.hpp"

/// \file
/// Makers of hypotheses: what a tensor would be if a mistake had been made that many students make, and its sentence,
/// the same in all graders. Each continues "this is what you get when ...".
///
///     Label label{"the gradient of the weight"};
///     label.hypotheses = BiasMistakes("the bias", t.ranks(), [=] { return x.mm(w); }, bias);
///     label.hypotheses.push_back({EqualWeights("micro-batch"), [=] { return at::stack(means).mean(0); }});
///     t.ExpectClose(run, rank, "dw", expected, label);
///
/// A maker takes the reference computation, as a function of what the mistake changes, so that nothing is computed
/// before a tensor is wrong. What needs no more than the right value (a factor, zero, a turned order, a transposed
/// tensor) and what Label's `summands`, `pieces` and `of_ranks` say is tested anyway. A mistake that one grader knows is
/// written where it is tested; it comes here with the second one.

namespace shardlab::grade {

/// A computation that is repeated with a mistake in it.
using Recompute = std::function<at::Tensor()>;

/// \name Sums and means
///@{
/// A bias that is missing, or that every one of `times` summands brings along.
/// \param bias_name "the bias", "the second bias".
/// \param without the result before the bias.
std::vector<Hypothesis> BiasMistakes(const std::string& bias_name, int64_t times, const Recompute& without,
                                     const at::Tensor& bias);
/// The sentence for parts of different sizes, each called `part`, that are averaged with equal weights.
std::string EqualWeights(const std::string& part);
/// The sentence for a last part, each called `part`, whose gradient is all that there is.
std::string LastOverwrites(const std::string& part);
/// The sentence for gradients that nobody sets to zero between steps.
extern const char* const kGradientsPileUp;
///@}

/// \name Gradients that come in
///@{
/// The sentence for a backward that works in place on what autograd hands to another branch of the graph too.
extern const char* const kSharedGradientChanged;
/// The sentence for a conjugate pair whose forward adds up, where its backward must.
extern const char* const kSumInForward;
///@}

/// \name Statistics
///@{
/// The reference computed with the mean and the variance of this rank's values alone.
Hypothesis LocalStatistics(const Recompute& with_local);
/// The reference computed with a variance that is divided by one less than the number of values, called `count`.
Hypothesis UnbiasedVariance(const std::string& count, const Recompute& with_unbiased);
///@}

/// \name Memory
///@{
/// A tensor like `tensor` whose memory was never written, as the ranks find it.
at::Tensor NeverWrittenLike(const at::Tensor& tensor);
/// Both ways in which what nobody writes can look: 0, and never written. `value` is given a tensor like `whole` to fill
/// in.
std::vector<Hypothesis> PartlyWritten(const std::string& meaning, const at::Tensor& whole,
                                      const std::function<void(const at::Tensor& result)>& value);
///@}

/// \name Rounding
///@{
/// Integers of a type of 8 bytes whose sums over up to 8 ranks are exact in it, and in no smaller one.
at::Tensor LargeIntegers(CaseContext& t, const std::vector<int64_t>& shape, at::ScalarType dtype);
/// Their sum in the type that is too small.
Hypothesis RoundedSum(const std::vector<at::Tensor>& summands);
///@}

/// "\n  this is what you get when ..." of the first that gives `measured` to 1e-9; empty when none does, and where it
/// is the right value.
std::string Explained(double measured, double right, const std::vector<FigureHypothesis>& hypotheses);

/// A whole run repeated with a mistake: what each of its outputs would be. It is computed once, when the first wrong
/// tensor asks, for all tensors that ask.
class MistakenRun {
 public:
  /// Tensors by the name of the output: "losses", "fc.weight", ...
  using Outputs = std::map<std::string, at::Tensor>;

  /// \param meaning continues "this is what you get when ...".
  MistakenRun(std::string meaning, std::function<Outputs()> repeat);
  /// What `output` would be; undefined where the repeated run has none.
  Hypothesis For(const std::string& output) const;

 private:
  struct Once;
  std::string meaning_;
  std::shared_ptr<Once> once_;
};

/// The hypotheses of several repeated runs for one output.
std::vector<Hypothesis> For(const std::string& output, const std::vector<MistakenRun>& runs);

/// Appends `more`.
void Append(std::vector<Hypothesis>& hypotheses, std::vector<Hypothesis> more);

}  // namespace shardlab::grade
