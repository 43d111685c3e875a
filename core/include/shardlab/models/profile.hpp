#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "shardlab/layers/layer.hpp"

/// \file
/// What each layer of a model costs, found by running it: the numbers by which a model is cut into stages
/// (shardlab/pipeline/balance.hpp).

namespace shardlab {

/// One layer, for one micro-batch.
struct LayerProfile {
  std::string name;             ///< LayerSpec::name
  double forward_s = 0;         ///< seconds of a forward, median
  double backward_s = 0;        ///< seconds of a backward to inputs and parameters, median
  int64_t parameters = 0;       ///< how many there are
  int64_t parameter_bytes = 0;  ///< of one copy of them
  /// Bytes that a forward leaves allocated for its backward, its outputs included; its inputs are another layer's
  /// outputs. Exact, and the same in every run.
  int64_t activation_bytes = 0;
  int64_t boundary_bytes = 0;  ///< of what goes to the next layer
  int64_t skip_bytes = 0;      ///< of what it stashes
};

/// How often to measure.
struct ProfileOptions {
  int repeats = 5;  ///< Of which the median is taken, after one that is not counted; at least 1.
};

/// Makes and runs one layer after the other in training mode, on as many threads as the caller has (in a rank: one).
///
/// Holds one layer, its activations and what is on its way to later ones at a time, never the whole model. From now on
/// tensor memory is counted (shardlab/measure/memory.hpp).
/// Where layers communicate, as those of MakeParallelModel do, all their ranks measure together: each calls this.
/// It is a dry run too: what a layer returns that could not travel to another stage is refused here (RequireBoundary).
///
/// \param inputs one micro-batch of the model's inputs.
/// \throws ContractError for repeats below 1, a layer that returns no boundary, or a sequence that RequireRunnable
/// refuses.
std::vector<LayerProfile> ProfileLayers(const LayerSequence& sequence, const Tensors& inputs,
                                        const ProfileOptions& options = {});

/// What Balance takes to make the slowest stage as fast as it can be: seconds a micro-batch in each layer.
/// \param recomputes whether the forward runs again for the backward.
std::vector<double> SecondsOf(const std::vector<LayerProfile>& profile, bool recomputes = false);

/// What Balance takes to make the largest stage as small as it can be: bytes of each layer.
/// \param copies of the parameters in memory: weight and gradient, and one for momentum or two for Adam.
/// \param live micro-batches whose activations are alive at once.
std::vector<double> BytesOf(const std::vector<LayerProfile>& profile, int copies = 3, int live = 1);

}  // namespace shardlab
