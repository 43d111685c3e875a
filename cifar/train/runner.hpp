#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "checkpoint.hpp"
#include "cut.hpp"
#include "shardlab/comm/device_mesh.hpp"
#include "shardlab/layers/stage_module.hpp"
#include "task.hpp"
#include "tiles.hpp"

namespace torch::optim {
class Optimizer;
}

/// \file
/// What one rank does for an update. There are two kinds: with the engine of the module pipeline, and with the whole
/// model on every rank, which needs no engine.

namespace shardlab::train {

/// Layers of this rank and what updates them.
struct Held {
  const StageModule* module = nullptr;
  torch::optim::Optimizer* optimizer = nullptr;  ///< null: there is nothing to update
};

/// Trains this rank's layers. All ranks of the mesh call everything in the same order.
class Runner {
 public:
  virtual ~Runner() = default;

  /// Whether updates are not made one by one: Run is called once, for all of them.
  virtual bool AllAtOnce() const = 0;
  /// Makes `count` updates, from step `first` on.
  /// \param begun is told which step begins; not every rank hears of every step.
  /// \returns on ranks with a last chunk what this replica's samples add to the loss of each; elsewhere nothing.
  virtual std::vector<double> Run(int64_t first, int64_t count, const std::function<void(int64_t)>& begun) = 0;
  /// \returns on the rank with the last chunk the logits of images that are enlarged already; elsewhere nothing.
  virtual Tensors Evaluate(const at::Tensor& images) = 0;
  /// What this rank has of the model. It stays where it is as long as the runner lives, but at Run.
  virtual std::vector<Held> Holds() = 0;
  /// Rank 0 prints what a step looked like, if there is something to be seen.
  virtual void Show() = 0;
};

/// Every rank has all layers, or along tensor its shards of all, or along spatial its tile of all images. Gradients are
/// averaged along data, and summed along spatial, by the module communication.
std::unique_ptr<Runner> MakeWholeModelRunner(const Task& task, const Cut& cut, const ShardBoxes& boxes,
                                             DeviceMesh& mesh, const Tiles& tiles);

/// Ranks along pipe have stages, and the module pipeline's engine runs them.
std::unique_ptr<Runner> MakePipelineRunner(const Task& task, const Cut& cut, const ShardBoxes& boxes, DeviceMesh& mesh,
                                           const Tiles& tiles);

}  // namespace shardlab::train
