#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace at {
class Tensor;
}
namespace torch::optim {
class Optimizer;
}

/// \file
/// How weights are updated, said once: every optimizer of shardlab is made of a Recipe.

namespace shardlab {

/// Which rule updates the weights.
enum class OptimizerKind { kSgd, kAdam };

/// One update, from the gradients g of all parameters:
///
///     1  g = g * min(1, clip_norm / (norm of all g together + 1e-6))      where clipping is asked for
///     2  the rule, with the rate learning_rate * rate_factor(update)
struct Recipe {
  OptimizerKind optimizer = OptimizerKind::kSgd;  ///< SGD with momentum, or Adam.
  double learning_rate = 0.02;                    ///< Above 0.
  double momentum = 0.9;                          ///< SGD's, 0 or more.
  double weight_decay = 0.0;                      ///< L2, 0 or more.
  double clip_norm = 0.0;                         ///< Largest norm of all gradients together; 0 does not clip.
  /// The learning rate's factor at an update (0, 1, ... over all runs); empty means 1 throughout.
  std::function<double(int64_t update)> rate_factor;
};

/// \throws ContractError that says which number is out of its range.
void RequireRecipe(const Recipe& recipe);

/// The optimizer of the recipe for some parameters. It neither clips nor changes its rate: who steps does.
/// \throws ContractError as RequireRecipe.
std::unique_ptr<torch::optim::Optimizer> MakeOptimizer(const Recipe& recipe, const std::vector<at::Tensor>& parameters);

/// One step of `optimizer` with all its learning rates multiplied by `factor`, this once.
void StepScaled(torch::optim::Optimizer& optimizer, double factor);

}  // namespace shardlab
