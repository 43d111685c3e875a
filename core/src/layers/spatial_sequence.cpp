#include <algorithm>
#include <map>
#include <utility>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/layers/tiled_image.hpp"
#include "tile_tensor.hpp"

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
      tiles.push_back(x[i]);
      if (boundary_.in.at(i).rows.empty()) continue;
      TiledImage image{x[i], boundary_.in[i], boundary_.in_held[i]};
      if (!boundary_.fetched[i].rows.empty()) {
        image.values = ops_->Retile(image, boundary_.fetched[i]);
        image.held = boundary_.fetched[i];
      }
      tiles.back() = MakeTileTensor(std::move(image), ops_);
    }
    Tensors outputs = layer_->Forward(tiles, at);
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (IsTileTensor(outputs[i])) outputs[i] = Cropped(TilesOf(outputs[i]), boundary_.out_held.at(i), ops_->rank());
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
  explicit OpsOnNothing(TileOps& ops) : ops_(ops) { outputs_within = ops.outputs_within; }

  Tiling Outputs(const ImageWindow& window, const Tiling& tiling) override { return ops_.Outputs(window, tiling); }
  at::Tensor Conv2d(const TiledImage& x, const at::Tensor& weight, const at::Tensor&, const ImageWindow& window,
                    int64_t, const Tiling& outputs) override {
    Look(x, window, outputs);
    return Empty(x, weight.size(0), outputs);
  }
  at::Tensor MaxPool2d(const TiledImage& x, const ImageWindow& window, const Tiling& outputs) override {
    Look(x, window, outputs);
    return Empty(x, x.values.size(1), outputs);
  }
  at::Tensor AveragePool2d(const TiledImage& x, const ImageWindow& window, bool, int64_t,
                           const Tiling& outputs) override {
    Look(x, window, outputs);
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

  bool exchanges = false;  // whether an operation has lacked pixels that would have to be exchanged

 private:
  void Look(const TiledImage& x, const ImageWindow& window, const Tiling& outputs) {
    exchanges |= outputs_within && !HoldsInputs(*this, x, window, outputs);
  }

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

// Takes a mini-batch of no image through the layers.
class Planner {
 public:
  Planner(const LayerSequence& model, TileOps& ops) : model_(model), ops_(std::make_shared<OpsOnNothing>(ops)) {
    for (const LayerSpec& spec : model) layers_.push_back(spec.make());
    at_.samples = {0, 0};
    at_.batch = 0;
  }

  TilePlan Plan(int64_t channels, const Tiling& tiling, int group) {
    State state;
    const Box mine = tiling.TileOf(ops_->rank());
    const at::Tensor image =
        at::empty({0, channels, mine.ranges[0].size(), mine.ranges[1].size()}, ParametersOf(model_));
    state.x = {MakeTileTensor({image, tiling, tiling}, ops_)};
    TilePlan plan;
    while (plan.size() < model_.size()) {
      const size_t begin = plan.size();
      const size_t end = std::min(model_.size(), begin + static_cast<size_t>(std::max(group, 1)));
      for (TiledBoundary& boundary : group > 0 ? FuseSome(begin, end, &state) : Run(begin, end, {}, &state)) {
        plan.push_back(std::move(boundary));
      }
    }
    return plan;
  }

 private:
  // What lies in front of a layer.
  struct State {
    Tensors x;
    std::map<std::string, at::Tensor> skips;
  };
  // How much more than its own pixels a rank gets of one tensor.
  struct Growth {
    int64_t above = 0, below = 0, left = 0, right = 0;
  };

  static std::vector<Range> Grown(std::vector<Range> ranges, int64_t before, int64_t behind) {
    const int64_t size = ranges.back().end;
    for (Range& range : ranges) {
      range = {std::max<int64_t>(range.begin - before, 0), std::min(range.end + behind, size)};
    }
    return ranges;
  }

  // Runs layers [begin, end), in front of which a rank gets more of each tensor as `growth` says; none: nothing.
  TilePlan Run(size_t begin, size_t end, const std::vector<Growth>& growth, State* state) {
    const at::NoGradGuard no_grad;
    ops_->exchanges = false;
    TilePlan plan;
    for (size_t layer = begin; layer < end; ++layer) {
      const LayerSpec& spec = model_[layer];
      Tensors& x = state->x;
      for (const std::string& name : spec.pops) {
        x.push_back(state->skips.at(name));
        state->skips.erase(name);
      }
      TiledBoundary boundary;
      for (size_t i = 0; i < x.size(); ++i) {
        boundary.in.push_back(TilingOf(x[i]));
        boundary.in_held.push_back(IsTileTensor(x[i]) ? TilesOf(x[i]).held : Tiling{});
        boundary.fetched.emplace_back();
        if (layer > begin || i >= growth.size() || !IsTileTensor(x[i])) continue;
        const TiledImage& image = TilesOf(x[i]);
        const Tiling wide{Grown(image.tiling.rows, growth[i].above, growth[i].below),
                          Grown(image.tiling.columns, growth[i].left, growth[i].right)};
        if (wide == image.tiling) continue;
        boundary.fetched.back() = wide;
        x[i] = MakeTileTensor({ops_->Retile(image, wide), image.tiling, wide}, ops_);
      }
      try {
        x = layers_[layer]->Forward(x, at_);
      } catch (const ContractError& error) {
        throw ContractError(fmt::format("layer {}: {}", spec.name, error.what()));
      }
      const size_t first_stash = x.size() - spec.stashes.size();
      for (size_t i = 0; i < x.size(); ++i) {
        boundary.out.push_back(TilingOf(x[i]));
        boundary.out_held.push_back(boundary.out.back());
        if (!IsTileTensor(x[i])) continue;
        RequirePixels(boundary.out.back(), spec.name);
        // Behind the group, and in skips, a rank keeps its own pixels and no others.
        if (layer + 1 < end && i < first_stash) {
          boundary.out_held.back() = TilesOf(x[i]).held;
        } else {
          const Tiling& tiling = boundary.out.back();
          x[i] = MakeTileTensor({Cropped(TilesOf(x[i]), tiling, ops_->rank()), tiling, tiling}, ops_);
        }
      }
      for (size_t i = 0; i < spec.stashes.size(); ++i) state->skips[spec.stashes[i]] = x[first_stash + i];
      x.resize(first_stash);
      plan.push_back(std::move(boundary));
    }
    return plan;
  }

  // Whether layers [begin, end) need no exchange between them, with these halos in front.
  bool IsEnough(size_t begin, size_t end, const std::vector<Growth>& growth, State state) {
    try {
      Run(begin, end, growth, &state);
    } catch (const ContractError&) {
      return false;
    }
    return !ops_->exchanges;
  }

  // The most of the layers [begin, end) for which one exchange is enough, with the narrowest halos; at least one layer.
  TilePlan FuseSome(size_t begin, size_t end, State* state) {
    for (; end > begin; --end) {
      std::vector<Growth> growth(state->x.size() + model_[begin].pops.size());
      int64_t widest = 0;
      for (const at::Tensor& x : state->x) {
        if (IsTileTensor(x)) widest = std::max({widest, x.size(2), x.size(3)});
      }
      for (Growth& one : growth) one = {widest, widest, widest, widest};
      if (!IsEnough(begin, end, growth, *state)) continue;
      for (Growth& one : growth) {
        for (int64_t* side : {&one.above, &one.below, &one.left, &one.right}) {
          int64_t too_few = -1;
          while (*side - too_few > 1) {
            const int64_t enough = *side;
            *side = too_few + (enough - too_few) / 2;
            if (IsEnough(begin, end, growth, *state)) continue;
            too_few = *side;
            *side = enough;
          }
        }
      }
      return Run(begin, end, growth, state);
    }
    return Run(begin, begin + 1, {}, state);
  }

  const LayerSequence& model_;
  std::vector<std::shared_ptr<Layer>> layers_;
  std::shared_ptr<OpsOnNothing> ops_;
  MicroBatch at_;
};

}  // namespace

TilePlan PlanTiles(const LayerSequence& model, int64_t channels, int64_t height, int64_t width, const Grid& grid,
                   TileOps& ops, int group) {
  if (group < 0 || (group > 0 && !ops.outputs_within)) {
    throw ContractError(fmt::format("a group of {} layers cannot share a halo{}", group,
                                    group < 0 ? "" : ": nobody says what outputs some pixels are enough for"));
  }
  return Planner(model, ops).Plan(channels, EvenTiling(grid, height, width), group);
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
