#pragma once

#include <string>
#include <vector>

#include "shardlab/comm/device_mesh.hpp"
#include "shardlab/layers/layer.hpp"
#include "shardlab/models/profile.hpp"
#include "shardlab/plan/simulate.hpp"
#include "task.hpp"
#include "tiles.hpp"

/// \file
/// The model as a mesh runs it, and where a pipeline cuts it.

namespace shardlab::train {

/// A model in stages.
struct Cut {
  LayerSequence model;                ///< all layers; along tensor each is held by several ranks
  std::vector<LayerProfile> profile;  ///< of a micro-batch, on rank 0 of a mesh with an axis pipe; elsewhere empty
  std::vector<int> balance;           ///< layers of each stage

  /// What a micro-batch costs in each stage, from the profile: seconds.
  CostModel Costs() const;
  /// The cut as a table, for a terminal. Times are those of one micro-batch.
  std::string Text() const;
};

/// Makes the model for this mesh and, where it has an axis pipe, cuts it as the request says. Called on all ranks. The layers
/// of stages on tiles are measured on whole images, by one rank.
///
/// The ranks that share the first replica's first stage measure the layers together, since along tensor they talk in
/// every layer; rank 0 decides, and everybody gets its cut.
/// \throws UsageError where the last batch of an epoch has too few images for the pipeline; NotImplemented where the request asks for a measured balance and Balance is a stub.
Cut MakeCut(const Task& task, DeviceMesh& mesh, Tiles& tiles);

}  // namespace shardlab::train
