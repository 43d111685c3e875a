#include "shardlab/layers/recipe.hpp"

#include <fmt/format.h>
#include <torch/optim/adam.h>
#include <torch/optim/sgd.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

void RequireRecipe(const Recipe& recipe) {
  if (!(recipe.learning_rate > 0)) {
    throw ContractError(fmt::format("the learning rate is above 0, not {}", recipe.learning_rate));
  }
  if (!(recipe.momentum >= 0 && recipe.weight_decay >= 0 && recipe.clip_norm >= 0)) {
    throw ContractError(fmt::format("momentum, weight decay and clipping are 0 or more, not {}, {} and {}",
                                    recipe.momentum, recipe.weight_decay, recipe.clip_norm));
  }
}

std::unique_ptr<torch::optim::Optimizer> MakeOptimizer(const Recipe& recipe,
                                                       const std::vector<at::Tensor>& parameters) {
  RequireRecipe(recipe);
  if (recipe.optimizer == OptimizerKind::kAdam) {
    return std::make_unique<torch::optim::Adam>(
        parameters, torch::optim::AdamOptions(recipe.learning_rate).weight_decay(recipe.weight_decay));
  }
  return std::make_unique<torch::optim::SGD>(
      parameters,
      torch::optim::SGDOptions(recipe.learning_rate).momentum(recipe.momentum).weight_decay(recipe.weight_decay));
}

void StepScaled(torch::optim::Optimizer& optimizer, double factor) {
  std::vector<double> rates;
  for (auto& group : optimizer.param_groups()) {
    rates.push_back(group.options().get_lr());
    group.options().set_lr(rates.back() * factor);
  }
  optimizer.step();
  auto rate = rates.begin();
  for (auto& group : optimizer.param_groups()) group.options().set_lr(*rate++);
}

}  // namespace shardlab
