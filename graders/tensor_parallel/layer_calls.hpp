#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "kit/hypotheses.hpp"
#include "shardlab/grade/referee.hpp"

/// \file
/// What the cases of this module share: several layers run in one run (body `layers`), each held against the same layer
/// in one process.

namespace shardlab::grade {

/// How a full tensor lies on the ranks.
struct Placement {
  static constexpr int64_t kNowhere = -1000;
  /// The dimension that is cut, from the back when negative; kNowhere: every rank has the whole.
  int64_t dim = kNowhere;
  /// How much of it each rank has; empty: SplitSizes.
  std::vector<int64_t> sizes = {};

  bool IsWhole() const { return dim == kNowhere; }
  /// Rank `rank`'s part of `full`, contiguous.
  at::Tensor PartOf(const at::Tensor& full, int ranks, int rank) const;
  /// The index of the part's first element in `full`.
  std::vector<int64_t> OffsetOf(const at::Tensor& full, int ranks, int rank) const;
};

/// A parameter of the layer: the name under which the layer registers it and gets it.
struct Weight {
  std::string name;
  at::Tensor full;  ///< undefined: the layer is made without it
  Placement placement;
};

/// Weights by name, as the oracle wants them.
using Weights = std::map<std::string, at::Tensor>;

/// How a mistake that depends on the step and the rank is told; `what`, the offset and the other ranks' parts are
/// added.
using Mistakes = std::function<Label(size_t step, int rank)>;

/// One layer that is made and run.
struct LayerCall {
  std::string what;       ///< "MakeRowLinear (weight [5, 3], 4 rows)"
  nlohmann::json params;  ///< for the body: layer, eps, ...
  std::vector<Weight> weights;
  Placement input;
  Placement output;
  std::vector<at::Tensor> x;   ///< the full input of each step
  std::vector<at::Tensor> dy;  ///< the full gradient that comes back in each step; undefined: no backward
  /// The layer in one process.
  std::function<at::Tensor(const Weights&, const at::Tensor& x)> oracle;
  /// Its buffers after all steps, with how they lie; may be empty.
  std::function<std::vector<Weight>()> buffers;
  bool exact = true;  ///< integers: the same bits are expected
  /// A parameter's gradient on a rank is that of the rank's rows alone (BatchNorm over samples).
  bool gradients_of_own_rows = false;
  Mistakes y_mistakes = nullptr;   ///< of a rank's output
  Mistakes dx_mistakes = nullptr;  ///< of the gradient of its input
  /// Of a rank's part of a buffer after all steps.
  std::function<std::vector<Hypothesis>(const std::string& name, int rank)> buffer_mistakes = nullptr;
};

/// Several layers in one run.
class LayerCalls {
 public:
  explicit LayerCalls(int ranks) : ranks_(ranks) { spec.body = "layers"; }

  /// Adds a call; returns its number.
  int Add(LayerCall call);

  /// What to launch, without the calls; its limits and faults may be changed.
  RunSpec spec;
  /// Runs them all.
  Run Launch(CaseContext& t);

  /// \name Checks of all calls on all ranks
  ///@{
  /// Every parameter is the slice of the full weight, bit for bit, a copy of its own, and there is no other. A run by
  /// itself, in which the layers are only made: a wrong shard is told before it makes forward fail in other words.
  void ExpectShards(CaseContext& t) const;
  /// Every output, the buffers, and that the inputs are as they were.
  void ExpectOutputs(CaseContext& t, const Run& run) const;
  /// The gradients of the input and of every parameter; replicated ones have the same bits on every rank.
  void ExpectGradients(CaseContext& t, const Run& run) const;
  /// Launches them, and expects shards and outputs, outputs and gradients, or gradients alone.
  void ExpectValuesOnly(CaseContext& t);
  Run ExpectAll(CaseContext& t);
  void ExpectGradientsOnly(CaseContext& t);
  ///@}

  const LayerCall& call(int i) const { return calls_.at(static_cast<size_t>(i)); }

 private:
  struct Reference {
    std::vector<at::Tensor> y;                            // a step
    std::vector<at::Tensor> dx;                           // a step
    std::vector<std::vector<Weights>> gradients_on_rank;  // a step and a rank (full tensors)
    std::vector<Weight> buffers;
  };

  /// What the body is told of a call, and the weights among `inputs`.
  void Describe(size_t call, size_t steps, RunSpec* spec) const;
  void ExpectBuffers(CaseContext& t, const Run& run, size_t call) const;
  void Compare(CaseContext& t, const Run& run, int rank, const std::string& output, const at::Tensor& full,
               const Placement& placement, bool exact, double scale, Label label) const;
  void ExpectGradient(CaseContext& t, const Run& run, size_t call, size_t step, int rank, const Weight& weight,
                      double scale) const;

  int ranks_;
  std::vector<LayerCall> calls_;
  std::vector<Reference> references_;
};

/// \name The same call in awkward circumstances
///@{
LayerCall NonContiguous(LayerCall call);
LayerCall WithoutInputGradient(LayerCall call);
LayerCall WithoutAutograd(LayerCall call);
/// With rows that lie in more than one dimension: [rows in front..., features]. What is told of mistakes is dropped.
LayerCall WithRowsAs(LayerCall call, const std::vector<int64_t>& rows);
///@}

}  // namespace shardlab::grade
