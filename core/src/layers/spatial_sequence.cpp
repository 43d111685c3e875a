#include <map>
#include <utility>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/layers/tiled_image.hpp"

namespace shardlab {

namespace {

// A layer that is given tile tensors, and shows to others this rank's pixels.
class SpatialLayer final : public Layer {
 public:
  SpatialLayer(std::shared_ptr<Layer> layer, TiledBoundary boundary, std::shared_ptr<TileOps> ops)
      : layer_(std::move(layer)), boundary_(std::move(boundary)), ops_(std::move(ops)) {
    for (const auto& item : layer_->named_parameters(false)) {
      register_parameter(item.key(), item.value(), item.value().requires_grad());
    }
    for (const auto& item : layer_->named_buffers(false)) register_buffer(item.key(), item.value());
    for (const auto& item : layer_->named_children()) register_module(item.key(), item.value());
  }

  Tensors Forward(const Tensors& x, const MicroBatch& at) override {
    Tensors tiles;
    for (size_t i = 0; i < x.size(); ++i) {
      const Tiling& tiling = boundary_.in.at(i);
      tiles.push_back(tiling.rows.empty() ? x[i] : MakeTileTensor({x[i], tiling, tiling}, ops_));
    }
    Tensors outputs = layer_->Forward(tiles, at);
    for (at::Tensor& output : outputs) {
      if (IsTileTensor(output)) output = TilesOf(output).values;
    }
    return outputs;
  }

  void train(bool on = true) override {
    Layer::train(on);
    layer_->train(on);
  }

 private:
  std::shared_ptr<Layer> layer_;
  TiledBoundary boundary_;
  std::shared_ptr<TileOps> ops_;
};

// Knows how the tiles lie, and computes nothing.
class OpsOnNothing final : public TileOps {
 public:
  explicit OpsOnNothing(TileOps& ops) : ops_(ops) {}

  Tiling Outputs(const ImageWindow& window, const Tiling& tiling) override { return ops_.Outputs(window, tiling); }
  at::Tensor Conv2d(const TiledImage& x, const at::Tensor& weight, const at::Tensor&, const ImageWindow&, int64_t,
                    const Tiling& outputs) override {
    return Empty(x, weight.size(0), outputs);
  }
  at::Tensor MaxPool2d(const TiledImage& x, const ImageWindow&, const Tiling& outputs) override {
    return Empty(x, x.values.size(1), outputs);
  }
  at::Tensor AveragePool2d(const TiledImage& x, const ImageWindow&, bool, int64_t, const Tiling& outputs) override {
    return Empty(x, x.values.size(1), outputs);
  }
  at::Tensor Moments(const TiledImage& x, bool over_images) override {
    return over_images ? at::zeros({2, x.values.size(1)}, x.values.options())
                       : at::zeros({2, x.values.size(0), x.values.size(1)}, x.values.options());
  }
  at::Tensor SumOfPixels(const TiledImage& x) override {
    return at::zeros({x.values.size(0), x.values.size(1)}, x.values.options());
  }
  at::Tensor Retile(const TiledImage& x, const Tiling& to) override { return Empty(x, x.values.size(1), to); }
  int rank() const override { return ops_.rank(); }

 private:
  at::Tensor Empty(const TiledImage& x, int64_t channels, const Tiling& outputs) const {
    const Box mine = outputs.TileOf(rank());
    return at::empty({x.values.size(0), channels, mine.ranges[0].size(), mine.ranges[1].size()}, x.values.options());
  }

  TileOps& ops_;
};

// The dtype of the first parameter that there is.
at::TensorOptions ParametersOf(const LayerSequence& model) {
  for (const LayerSpec& spec : model) {
    const auto parameters = spec.make()->parameters();
    if (!parameters.empty()) return parameters.front().options().requires_grad(false);
  }
  return at::kFloat;
}

// A tile without a pixel can be computed with, but is of no use, and what travels between stages has elements.
void RequirePixels(const Tiling& tiling, const std::string& layer) {
  for (int rank = 0; rank < tiling.size(); ++rank) {
    if (!tiling.TileOf(rank).empty()) continue;
    throw ContractError(fmt::format(
        "behind layer {} the image has {} x {} pixels, and rank {} of the {}x{} tiles none of them: use fewer tiles, a "
        "larger image, or fewer layers on tiles",
        layer, tiling.height(), tiling.width(), rank, tiling.rows.size(), tiling.columns.size()));
  }
}

Tiling TilingOf(const at::Tensor& tensor) { return IsTileTensor(tensor) ? TilesOf(tensor).tiling : Tiling{}; }

}  // namespace

TilePlan PlanTiles(const LayerSequence& model, int64_t channels, int64_t height, int64_t width, const Grid& grid,
                   TileOps& ops) {
  const at::NoGradGuard no_grad;
  const auto nothing = std::make_shared<OpsOnNothing>(ops);
  const Tiling tiling = EvenTiling(grid, height, width);
  const Box mine = tiling.TileOf(ops.rank());
  const at::TensorOptions like = ParametersOf(model);
  const at::Tensor image = at::empty({0, channels, mine.ranges[0].size(), mine.ranges[1].size()}, like);
  Tensors x = {MakeTileTensor({image, tiling, tiling}, nothing)};
  MicroBatch at;
  at.samples = {0, 0};
  at.batch = 0;
  std::map<std::string, at::Tensor> skips;
  TilePlan plan;
  for (const LayerSpec& spec : model) {
    for (const std::string& name : spec.pops) {
      x.push_back(skips.at(name));
      skips.erase(name);
    }
    TiledBoundary boundary;
    for (const at::Tensor& tensor : x) boundary.in.push_back(TilingOf(tensor));
    try {
      x = spec.make()->Forward(x, at);
    } catch (const ContractError& error) {
      throw ContractError(fmt::format("layer {}: {}", spec.name, error.what()));
    }
    for (const at::Tensor& tensor : x) {
      boundary.out.push_back(TilingOf(tensor));
      if (IsTileTensor(tensor)) RequirePixels(boundary.out.back(), spec.name);
    }
    for (size_t i = 0; i < spec.stashes.size(); ++i) {
      skips[spec.stashes[i]] = x[x.size() - spec.stashes.size() + i];
    }
    x.resize(x.size() - spec.stashes.size());
    plan.push_back(std::move(boundary));
  }
  return plan;
}

LayerSequence SpatialSequence(const LayerSequence& model, TilePlan plan, std::shared_ptr<TileOps> ops) {
  LayerSequence spatial = model;
  for (size_t i = 0; i < spatial.size(); ++i) {
    spatial[i].make = [make = model[i].make, boundary = plan.at(i), ops] {
      return std::make_shared<SpatialLayer>(make(), boundary, ops);
    };
  }
  return spatial;
}

}  // namespace shardlab
