#pragma once

#include <cstdint>
#include <functional>

#include "shardlab/layers/layer.hpp"

/// \file
/// A model that is watched while it runs.

namespace shardlab::grade {

/// Dense layers of one width with tanh, in float64, [B, width] to [B, width]. Each counts what is done with it.
LayerSequence ProbeModel(int layers, int64_t width, uint64_t seed);

/// Is told "forward" by each probe that runs forward, and "half backward" for each of its two gradients; null: nobody.
void TellProbes(std::function<void(const char* what)> listener);

/// What was done with the probes of this process since the last ResetProbes.
struct ProbeCounts {
  int64_t forwards = 0;   ///< calls of a layer
  int64_t backwards = 0;  ///< gradients of a layer's input
  int64_t weights = 0;    ///< gradients of a layer's weights
  int64_t live = 0;       ///< graphs of a layer that are alive
  int64_t peak = 0;       ///< the most of them at once
};
/// The counts so far.
ProbeCounts Probes();
/// Begins to count again; what is alive stays.
void ResetProbes();

}  // namespace shardlab::grade
