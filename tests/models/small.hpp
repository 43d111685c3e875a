#pragma once

#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "shardlab/models/seeded.hpp"
#include "shardlab/models/sequences.hpp"

/// \file
/// Every kind of model, as small as it can be without losing anything that makes it special.

namespace shardlab {

inline ModelOptions OptionsOfSide(int64_t side) {
  ModelOptions options;
  options.side = side;
  options.classes = 3;
  options.conv_channels = {2, 3};
  options.dense = 4;
  options.hidden = {5, 4};
  options.dtype = at::kDouble;
  options.seed = 7;
  return options;
}

struct SmallModel {
  std::string name;
  LayerSequence sequence;
};

/// On images of this side, with 3 classes, in float64.
inline std::vector<SmallModel> SmallModels(int64_t side) {
  const ModelOptions options = OptionsOfSide(side);
  UNetOptions unet;
  unet.depth = 3;
  unet.convs = 2;
  unet.base = 4;
  unet.dropout = 0.3;
  TransformerOptions transformer;
  transformer.patch = side / 4;
  transformer.depth = 2;
  transformer.width = 8;
  transformer.heads = 2;
  transformer.dropout = 0.3;
  std::vector<SmallModel> models = {{"resnet18", ResNet(options, 18, 2)},
                                    {"resnet50", ResNet(options, 50, 2)},
                                    {"amoebanet", AmoebaNetD(options, 3, 8)},
                                    {"unet", UNet(options, unet)},
                                    {"transformer", VisionTransformer(options, transformer)}};
  for (const std::string& name : ModelNames()) models.push_back({name, MakeSequence(name, options)});
  return models;
}

inline at::Tensor Images(int64_t n, int64_t side) { return SeededTensor({n, 3, side, side}, 3, "images"); }

}  // namespace shardlab
