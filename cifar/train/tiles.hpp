#pragma once

#include <memory>

#include "request.hpp"
#include "shardlab/comm/device_mesh.hpp"
#include "shardlab/layers/tiled_image.hpp"
#include "shardlab/pipeline/positions.hpp"

/// \file
/// Images cut into tiles: which ranks work on them, and what of the model.

namespace shardlab::train {

/// One rank's place among the tiles. Without an axis spatial there is one tile, and nothing is cut.
class Tiles {
 public:
  /// Called on all ranks of the mesh.
  Tiles(const TrainRequest& request, DeviceMesh& mesh);

  /// The positions of the pipeline, and who holds them.
  const Positions& positions() const { return positions_; }
  /// The one that this rank is in.
  int position() const { return position_; }
  /// Whether it is the last one.
  bool is_last() const { return position_ + 1 == static_cast<int>(positions_.ranks.size()); }
  /// Which tile of its position is this rank's; 0 where there are none.
  int tile() const { return group_->rank(); }
  /// How many ranks do the work of this rank's position together.
  int count() const { return group_->size(); }
  /// The ranks of all replicas that hold the same stages as this one; null where that is this rank alone.
  std::shared_ptr<Communicator> same_stages() const { return same_stages_; }

  /// Has the layers [0, layers) run on tiles. Called before anything that follows.
  void Cut(LayerSequence* model, int layers);
  /// What a pipeline has to know of them; nothing where no image is cut.
  TiledStages Stages() const;
  /// This rank's pixels of whole images, at the front of the model; the images themselves where they are not cut.
  at::Tensor PixelsOf(const at::Tensor& images) const;

 private:
  const TrainRequest& request_;
  Positions positions_;
  int position_ = 0;
  std::shared_ptr<Communicator> group_, same_stages_;
  TilePlan plan_;
};

/// Checks in a process of its own that the layers which have to run on tiles can be cut: all of them, or those that are
/// sure to be in the first stages.
/// \throws UsageError that names the layer and what would do.
void RequireTiles(const TrainRequest& request);

}  // namespace shardlab::train
