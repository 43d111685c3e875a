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
  /// The ranks fall into so many groups, rank r into number r % groups. Each group has a communicator of its own, and
  /// holds the layer together.
  int groups = 1;
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
  /// Every parameter is the slice of the full weight, bit for bit, a leaf of its own, there is no other, and the full
  /// weight is forgotten. A run by itself, in which the layers are only made: a wrong shard is told before it makes
  /// forward fail in other words.
  void ExpectShards(CaseContext& t) const;
  /// Every output, the buffers, and that inputs and full weights are as they were.
  void ExpectOutputs(CaseContext& t, const Run& run) const;
  /// The gradients of the input and of every parameter; replicated ones have the same bits on every rank.
  void ExpectGradients(CaseContext& t, const Run& run) const;
  /// Launches them, and expects shards and outputs, outputs and gradients, or gradients alone.
  void ExpectValuesOnly(CaseContext& t);
  Run ExpectAll(CaseContext& t);
  void ExpectGradientsOnly(CaseContext& t);
  /// Launches them, each by itself and with nothing kept of its results. A layer keeps its shard alone when it is made,
  /// and nothing more when its forwards and backwards are over.
  void ExpectMemory(CaseContext& t);
  /// None of them is made, or run.
  void ExpectRefused(CaseContext& t);
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
  void ExpectGivenAsItWas(CaseContext& t, const Run& run, size_t call) const;
  /// Of the ranks that hold a call's layer together: how many there are, and which of them a rank is.
  int RanksOf(const LayerCall& call) const { return ranks_ / call.groups; }
  static int PlaceOf(const LayerCall& call, int rank) { return rank / call.groups; }
  /// A rank's part of the layer's tensor `full`.
  at::Tensor PartOf(const LayerCall& call, const Placement& placement, const at::Tensor& full, int rank) const {
    return placement.PartOf(full, RanksOf(call), PlaceOf(call, rank));
  }
  void Compare(CaseContext& t, const Run& run, int rank, const std::string& output, const LayerCall& call,
               const at::Tensor& full, const Placement& placement, bool exact, double scale, Label label) const;
  /// That `output` of a call's step holds what a later one gave.
  std::vector<Hypothesis> WrittenLater(size_t call, size_t step, int rank) const;
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
/// With rows that lie in other dimensions than one: [rows..., features]; without a number, one row in none. What is told
/// of mistakes is dropped.
LayerCall WithRowsAs(LayerCall call, const std::vector<int64_t>& rows);
/// In float32. What is told of mistakes is dropped.
LayerCall InFloat32(LayerCall call);
/// Held together by some of the ranks, twice or more often. What is told of mistakes is dropped.
LayerCall OnGroups(LayerCall call, int groups);
///@}

}  // namespace shardlab::grade
