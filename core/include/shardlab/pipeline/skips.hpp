#pragma once

#include <string>
#include <vector>

#include "shardlab/base/contract.hpp"
#include "shardlab/layers/layer.hpp"

/// \file
/// Contracts: skip connections across stages.
///
///     stage 0 ------> stage 1 ------> stage 2 ------> stage 3
///        \________________________________/
///         "encoder1": from stage 0 to stage 2, past stage 1
///
/// Handed on from stage to stage a skip would cost its bytes once for every boundary, and memory in every stage
/// between. It travels directly instead: once forward, and its gradient once back.

namespace shardlab {

/// A skip that leaves its stage.
struct SkipRoute {
  std::string name;  ///< what the layers call it
  int from = 0;      ///< the stage that stashes it
  int to = 0;        ///< the stage that pops it, a later one

  /// Equal routes have the same name and ends.
  friend bool operator==(const SkipRoute& a, const SkipRoute& b) {
    return a.name == b.name && a.from == b.from && a.to == b.to;
  }
};

/// Checks the skips of a model before anything runs: every name is stashed once and popped once, by a later layer.
/// \throws ContractError with the layers' and the skip's names: popped and never stashed, popped before it is stashed or
/// by the same layer, popped twice, stashed twice, stashed and never popped.
SHARDLAB_CONTRACT void CheckSkips(const LayerSequence& model);

/// The skips that cross a boundary, in the order in which they are stashed.
/// \param balance layers of each stage, which sum to the layers of the model.
/// \throws ContractError as CheckSkips.
SHARDLAB_CONTRACT std::vector<SkipRoute> SkipRoutes(const LayerSequence& model, const std::vector<int>& balance);

}  // namespace shardlab
