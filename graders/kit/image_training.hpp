#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <nlohmann/json.hpp>

#include "shardlab/models/classifiers.hpp"
#include "shardlab/models/trainer.hpp"

/// \file
/// What is trained and how, told once and read by the ranks and by the referee.

namespace shardlab::grade {

/// A training run on images that pass by in their order, again and again; the last batch of a pass may be smaller.
struct ImageTraining {
  std::string model;
  ModelOptions model_options;
  TrainOptions train_options;
  int64_t batch = 16;

  nlohmann::json ToJson() const {
    return {{"model", model},
            {"hidden", model_options.hidden},
            {"conv_channels", model_options.conv_channels},
            {"dense", model_options.dense},
            {"seed", model_options.seed},
            {"steps", train_options.steps},
            {"adam", train_options.recipe.optimizer == OptimizerKind::kAdam},
            {"learning_rate", train_options.recipe.learning_rate},
            {"momentum", train_options.recipe.momentum},
            {"weight_decay", train_options.recipe.weight_decay},
            {"batch", batch}};
  }

  static ImageTraining FromJson(const nlohmann::json& json) {
    ImageTraining plan;
    plan.model = json.at("model");
    plan.model_options.hidden = json.at("hidden").get<std::vector<int64_t>>();
    plan.model_options.conv_channels = json.at("conv_channels").get<std::vector<int64_t>>();
    plan.model_options.dense = json.at("dense");
    plan.model_options.seed = json.at("seed");
    plan.model_options.dtype = at::kDouble;
    plan.train_options.steps = json.at("steps");
    plan.train_options.recipe.optimizer = json.at("adam").get<bool>() ? OptimizerKind::kAdam : OptimizerKind::kSgd;
    plan.train_options.recipe.learning_rate = json.at("learning_rate");
    plan.train_options.recipe.momentum = json.at("momentum");
    plan.train_options.recipe.weight_decay = json.at("weight_decay");
    plan.batch = json.at("batch");
    return plan;
  }

  /// \param images uint8 [N, 3, 32, 32]
  /// \param labels int64 [N]
  Batch BatchOf(int64_t step, const at::Tensor& images, const at::Tensor& labels) const {
    const int64_t count = labels.size(0);
    const int64_t passes = (count + batch - 1) / batch;
    const int64_t begin = (step % passes) * batch;
    const int64_t size = std::min(batch, count - begin);
    const at::Tensor pixels = images.narrow(0, begin, size).to(at::kDouble);
    return {pixels / 64 - 2, labels.narrow(0, begin, size)};
  }
};

}  // namespace shardlab::grade
