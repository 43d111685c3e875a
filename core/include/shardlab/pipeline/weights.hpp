#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "shardlab/base/contract.hpp"
#include "shardlab/layers/recipe.hpp"
#include "shardlab/layers/stage_module.hpp"

/// \file
/// The weights of one chunk, and how the optimizer changes them.

namespace shardlab {

/// Makes the optimizer of a chunk, for those of its parameters that require a gradient. Chunks without any have none.
using OptimizerFactory =
    std::function<std::unique_ptr<torch::optim::Optimizer>(int chunk, const std::vector<at::Tensor>& parameters)>;
/// The same for one chunk, which weights know without its number.
using OptimizerMaker = std::function<std::unique_ptr<torch::optim::Optimizer>(const std::vector<at::Tensor>&)>;

/// The weight versions of one chunk that are in use: version k+1 is made of version k by an update.
class WeightStore {
 public:
  virtual ~WeightStore() = default;

  /// The module with the weights of `version`.
  /// \throws ContractError for a version that is not held (not made yet, or released).
  virtual StageModule& At(int version) = 0;
  /// The number of the newest version.
  virtual int Newest() const = 0;
  /// How many versions are held.
  virtual int Held() const = 0;

  /// What the next update is made of: for each parameter of the newest version that requires a gradient, in the order
  /// of the module, the sum of the gradients since the last update, on whatever version they were computed; zeros where
  /// there are none. Changing them in place changes the update.
  virtual std::vector<at::Tensor> Gradients() = 0;
  /// Makes version Newest() + 1 of the newest one and Gradients(), which are cleared.
  /// \param learning_rate what the optimizer's own learning rate is multiplied with.
  virtual void Update(double learning_rate) = 0;
  /// Nobody will run forward or backward on `version` any more. Its gradients still count, and the newest version
  /// stays.
  virtual void Release(int version) = 0;
  /// The newest version is called 0 from now on; others, of which none may be in use, are dropped.
  virtual void Restart() = 0;
};

/// Makes the weights of a chunk: MakeWeights or MakeWeightVersions, as whoever fills in PipelineSetup::weights chooses.
using WeightStoreFactory = std::function<std::unique_ptr<WeightStore>(StageFactory, OptimizerMaker)>;

/// One version, updated in place: enough where nothing is under way during an update. At throws ContractError for any
/// other version than the newest.
std::unique_ptr<WeightStore> MakeWeights(StageFactory make, OptimizerMaker optimizer);

/// Contract: as many versions as are in use.
///
/// A version is a set of leaf tensors of its own: autograd keeps leaves by reference, so a weight that is changed in
/// place between a forward and its backward makes the backward silently wrong; and the optimizers of LibTorch change
/// weights behind autograd's back. So while a version is in use the next one is made beside it, as a copy that the
/// optimizer then changes. A version that has been released before the update is changed in place: with a flush there
/// is never a second one.
///
///     Update    version 1 in use:      a copy of it becomes version 2
///               version 1 released:    it becomes version 2 itself
///
/// The optimizer has one state (momentum, Adam's moments), which goes from version to version. Buffers (running
/// statistics) are shared by all versions.
SHARDLAB_CONTRACT std::unique_ptr<WeightStore> MakeWeightVersions(StageFactory make, OptimizerMaker optimizer);

/// \name Pieces for a WeightStore
///@{
/// The parameters of a module that require a gradient, in its order.
std::vector<at::Tensor> Trainable(const StageModule& module);
/// Lets `optimizer` work on the tensors `to` instead of `from`, with the state that it has for them.
/// \throws ContractError unless they are as many.
void MoveOptimizer(torch::optim::Optimizer& optimizer, const std::vector<at::Tensor>& from,
                   const std::vector<at::Tensor>& to);
///@}

}  // namespace shardlab
