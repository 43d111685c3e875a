#include "training_plan.hpp"

#include "probe.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/models/sequences.hpp"
#include "shardlab/plan/passes.hpp"

namespace shardlab::grade {

LayerSequence TrainingPlan::MakeModel() const {
  if (model == "probe") return ProbeModel(layers, width, model_seed);
  ModelOptions options;
  options.dtype = at::kDouble;
  options.seed = model_seed;
  options.side = side;
  options.hidden = {24, 16, 12};
  options.conv_channels = {4, 8};
  options.dense = 16;
  return MakeSequence(model, options);
}

Schedule TrainingPlan::Complete(const Schedule& list, int an_update) const {
  const shardlab::Recompute mode = recompute == "always"        ? shardlab::Recompute::kAlways
                                   : recompute == "except_last" ? shardlab::Recompute::kExceptLast
                                                                : shardlab::Recompute::kNever;
  return AddCommunication(AddRecompute(list, mode, IsAsynchronous() ? an_update : 0));
}

Recipe TrainingPlan::MakeRecipe() const {
  Recipe recipe;
  recipe.optimizer = adam ? OptimizerKind::kAdam : OptimizerKind::kSgd;
  recipe.learning_rate = learning_rate;
  recipe.momentum = momentum;
  recipe.clip_norm = clip_norm;
  if (decays) recipe.rate_factor = [](int64_t update) { return 1.0 / static_cast<double>(1 + update); };
  return recipe;
}

void TrainingPlan::BalanceEvenly() {
  balance.clear();
  for (const int64_t size : SplitSizes(static_cast<int64_t>(MakeModel().size()), MakeLayout().stages())) {
    balance.push_back(static_cast<int>(size));
  }
}

}  // namespace shardlab::grade
