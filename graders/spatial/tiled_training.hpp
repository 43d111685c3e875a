#pragma once

#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <nlohmann/json.hpp>

#include "shardlab/layers/recipe.hpp"
#include "shardlab/models/sequences.hpp"
#include "shardlab/models/trainer.hpp"
#include "shardlab/plan/tiling.hpp"

/// \file
/// A training run on tiles, told once and read by the ranks and by the referee.

namespace shardlab::grade {

/// What is trained, and how. Images are of 32 x 32 pixels, cropped to `side`.
struct TiledTraining {
  std::string model;  ///< resnet, amoebanet, unet: narrow ones
  std::string grid = "1x2";
  int64_t side = 32;
  int stages = 1;         ///< the first of which is on tiles; with 1 there is no pipeline
  int micro_batches = 1;  ///< an update, of a pipeline
  int64_t batch = 4;
  int64_t steps = 4;
  uint64_t seed = 1;

  int tiles() const { return ParseGrid(grid).size(); }
  int ranks() const { return tiles() + stages - 1; }
  LayerSequence Model() const {
    ModelOptions options;
    options.side = side;
    options.dtype = at::kDouble;
    options.seed = seed;
    if (model == "resnet") return ResNet(options, 18, /*width=*/4);
    if (model == "amoebanet") return AmoebaNetD(options, 3, 8);
    UNetOptions unet;
    unet.depth = 2;
    unet.convs = 1;
    unet.base = 4;
    return UNet(options, unet);
  }
  /// How many layers each stage has: the tiles have the front of the model.
  std::vector<int> Balance() const {
    const auto layers = static_cast<int>(Model().size());
    if (stages == 1) return {layers};
    const auto sizes = SplitSizes(layers, stages);
    return {sizes.begin(), sizes.end()};
  }
  Recipe HowToUpdate() const {
    Recipe recipe;
    recipe.learning_rate = 0.05;
    recipe.momentum = 0.9;
    return recipe;
  }
  Batch BatchOf(int64_t step, const at::Tensor& images, const at::Tensor& labels) const {
    const int64_t begin = step * batch % (labels.size(0) - batch + 1);
    const at::Tensor pixels = images.narrow(0, begin, batch).slice(2, 0, side).slice(3, 0, side);
    return {pixels.to(at::kDouble) / 64 - 2, labels.narrow(0, begin, batch)};
  }

  nlohmann::json ToJson() const {
    return {{"model", model}, {"grid", grid},   {"side", side}, {"stages", stages}, {"micro_batches", micro_batches},
            {"batch", batch}, {"steps", steps}, {"seed", seed}};
  }
  static TiledTraining FromJson(const nlohmann::json& json) {
    TiledTraining training;
    json.at("model").get_to(training.model);
    json.at("grid").get_to(training.grid);
    json.at("side").get_to(training.side);
    json.at("stages").get_to(training.stages);
    json.at("micro_batches").get_to(training.micro_batches);
    json.at("batch").get_to(training.batch);
    json.at("steps").get_to(training.steps);
    json.at("seed").get_to(training.seed);
    return training;
  }
};

}  // namespace shardlab::grade
