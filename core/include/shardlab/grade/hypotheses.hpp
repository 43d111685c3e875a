#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "shardlab/grade/referee.hpp"

/// \file
/// Makers of hypotheses: what a tensor would be if a mistake had been made that many students make, with one sentence
/// for each mistake in all graders. Each continues "this is what you get when ...".
///
///     Label label{"the gradient of the weight"};
///     label.hypotheses = PartsCountedWrongly("micro-batch", contributions);
///     label.hypotheses.push_back(GradientsOfEarlierSteps(gradients_so_far));
///     t.ExpectClose(run, rank, "dw", expected, label);
///
/// A maker takes the reference computation, as a function of what the mistake changes, so that nothing is computed
/// before a tensor is wrong. What needs no more than the right value (a factor, zero, a turned order, a transposed
/// tensor) and what Label's `summands`, `pieces` and `of_ranks` say is tested anyway.

namespace shardlab::grade {

/// A computation that is repeated with a mistake in it.
using Recompute = std::function<at::Tensor()>;

/// \name Sums and means
///@{
/// A bias that every one of `times` summands brings along.
/// \param without the result before the bias.
Hypothesis BiasAddedTimes(int64_t times, const Recompute& without, const at::Tensor& bias);
/// For each of the parts whose contributions add up to the right value: it is missing, or counted twice; and the last
/// one overwrites the others.
/// `part` is what one of them is called: "micro-batch".
std::vector<Hypothesis> PartsCountedWrongly(const std::string& part, const std::vector<at::Tensor>& contributions);
/// The parts' means are averaged with equal weights, although the parts have different sizes.
/// \param parts what they are called: "micro-batches".
Hypothesis MeanOfMeans(const std::string& parts, const std::vector<at::Tensor>& means);
/// Gradients add up over the steps, since nobody sets them to zero.
/// \param gradients of all steps up to this one.
Hypothesis GradientsOfEarlierSteps(const std::vector<at::Tensor>& gradients);
///@}

/// \name Statistics
///@{
/// The reference computed with the mean and the variance of this rank's values alone.
Hypothesis LocalStatistics(const Recompute& with_local);
/// The reference computed with a variance that is divided by one less than the number of values.
Hypothesis UnbiasedVariance(const Recompute& with_unbiased);
///@}

/// \name Versions of the weights, and what a recomputation must repeat
///@{
/// The reference computed with the weights before the last update.
Hypothesis StaleWeights(const Recompute& with_previous);
/// The reference computed with the newest weights where the ones of the forward pass belong.
Hypothesis NewestWeights(const Recompute& with_newest);
/// The recomputed forward draws another dropout mask than the first one.
Hypothesis OtherDropoutMask(const Recompute& with_other_mask);
///@}

/// \name Tiles
///@{
/// The reference computed tile by tile, with zeros where the neighbours' values belong.
Hypothesis HaloTakenAsZero(const Recompute& with_zeros);
/// What lies outside the image is not set back to the padding value between fused layers.
Hypothesis PaddingNotRestored(const Recompute& without_restoring);
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
