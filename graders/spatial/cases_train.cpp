#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include <fmt/format.h>
#include <torch/torch.h>

#include "kit/equal_training.hpp"
#include "kit/images.hpp"
#include "kit/traffic.hpp"
#include "kit/words.hpp"
#include "shardlab/pipeline/balance.hpp"
#include "shardlab/plan/box.hpp"
#include "tile_calls.hpp"
#include "tiled_training.hpp"

// Part train: whole models on tiles, held against the same model in one process.

namespace shardlab::grade {
namespace {

struct Reference {
  TrainResult result;
  std::string source;
};

// What one process gets. Micro-batches are normalised by themselves, tiles are not: they are one image.
TrainResult TrainWhole(const TiledTraining& training, const Images& data) {
  SequenceClassifier model(training.Model());
  TrainOptions options;
  options.steps = training.steps;
  options.recipe = training.HowToUpdate();
  options.slices = training.micro_batches;
  options.whole_batch_statistics = training.stages > 1;
  return Train(
      model, [&](int64_t step) { return training.BatchOf(step, data.pixels, data.labels); }, options);
}

void ExpectSameTraining(CaseContext& t, TiledTraining training, const FaultSpec& faults = {}) {
  training.seed = t.seed() % 1000000;
  const Images data = DrawImages(t, 2 * training.batch + 1);
  RunSpec spec;
  spec.body = training.stages == 1 ? "train_on_tiles" : "train_joined";
  spec.params = training.ToJson();
  spec.inputs = {{"images", {data.pixels}}, {"labels", {data.labels}}};
  spec.limit_s = 60;
  spec.faults = faults;
  const Run run = t.Launch(spec);
  const TrainResult reference = TrainWhole(training, data);

  const int last = t.ranks() - 1;
  const std::string where = training.stages == 1 ? fmt::format("{} tiles", training.grid)
                                                 : fmt::format("{} tiles and {} behind them", training.grid,
                                                               Count(training.stages - 1, "stage"));
  const std::vector<double> losses = LossesOf(t, run, last, "losses", static_cast<size_t>(training.steps),
                                              fmt::format("rank {} hands back no loss for every step", last));
  ExpectLosses(t, fmt::format("{} on {}, {}", training.model, where, data.source), losses, reference.losses, {});

  const double scale = ScaleOf(reference.parameters), steps = static_cast<double>(training.steps);
  const LayerSequence model = training.Model();
  for (const auto& [name, value] : reference.parameters) {
    const int stage = StageOf(model, training.Balance(), name);
    for (int rank = 0; rank < t.ranks(); ++rank) {
      if (stage != (rank < training.tiles() ? 0 : rank - training.tiles() + 1)) continue;
      t.ExpectClose(run, rank, "param." + name, value, {fmt::format("the final parameter `{}`", name)}, scale, steps);
    }
  }
  for (const auto& [name, value] : reference.buffers) {
    const int stage = StageOf(model, training.Balance(), name);
    for (int rank = 0; rank < t.ranks(); ++rank) {
      if (stage != (rank < training.tiles() ? 0 : rank - training.tiles() + 1)) continue;
      const Label label{fmt::format("the buffer `{}`", name)};
      if (value.scalar_type() == at::kLong) {
        t.ExpectEqual(run, rank, "buffer." + name, value, label);
      } else {
        t.ExpectClose(run, rank, "buffer." + name, value, label, 0, steps);
      }
    }
  }
}

}  // namespace

SHARDLAB_CASE(train, join_of_tiles, kValue, {3, 5}) {
  const Tiling tiling =
      t.ranks() == 3 ? Tiling{{{0, 3}}, {{0, 2}, {2, 3}}} : Tiling{{{0, 1}, {1, 3}}, {{0, 2}, {2, 3}}};
  const int tiles = tiling.size();
  const at::Tensor image = t.Integers({1, 2, 3, 3}, at::kDouble), whole = t.Integers({1, 4}, at::kDouble);
  const at::Tensor d_image = t.Integers({1, 2, 3, 3}, at::kDouble), d_whole = t.Integers({1, 4}, at::kDouble);
  const auto part = [&](const at::Tensor& of, int tile) {
    return PixelsOf(of, tiling.TileOf(std::min(tile, tiles - 1)));
  };
  RunSpec spec;
  spec.body = "join";
  spec.params["tiling"] = tiling;
  spec.inputs["tile"] = t.PerRank([&](int rank) { return part(image, rank); });
  spec.inputs["whole"] =
      t.PerRank([&](int rank) { return rank == 0 ? whole : whole + 100; });  // the first one's is taken
  spec.inputs["dtile"] = t.PerRank([&](int) { return d_image; });
  spec.inputs["dwhole"] = t.PerRank([&](int) { return d_whole; });
  const Run run = t.Launch(spec);
  t.Expect(run.Number(tiles, "tensors") == 2, "Take returns as many tensors as travel: 2");
  const at::Tensor got = run.Output(tiles, "taken0");
  const bool permuted = got.defined() && got.sizes() == image.sizes() && !at::equal(got, image) &&
                        at::equal(std::get<0>(got.flatten().sort()), std::get<0>(image.flatten().sort()));
  t.Expect(
      !permuted,
      fmt::format("what Take returns has all pixels of the image, and the tiles lie in another order: tile r * columns "
                  "+ c belongs in row r and column c of the {}x{} grid",
                  tiling.rows.size(), tiling.columns.size()));
  t.ExpectEqual(run, tiles, "taken0", image, {"the image that Take puts together"});
  t.ExpectEqual(run, tiles, "taken1", whole, {"the tensor that is whole on all tiles: the first tile's"});
  for (const char* needs : {"needs0", "needs1"}) {
    t.Expect(run.Number(tiles, needs) == 1,
             "what Take returns does not need a gradient, though the tiles' tensors need one: the stage behind would "
             "send none back");
  }
  for (int tile = 0; tile < tiles; ++tile) {
    t.ExpectEqual(run, tile, "gradient0", part(d_image, tile), {fmt::format("the gradient that tile {} gets", tile)});
    t.ExpectEqual(run, tile, "gradient1", tile == 0 ? d_whole : at::zeros_like(d_whole),
                  {fmt::format("the gradient of the whole tensor that tile {} gets", tile)});
  }
}

SHARDLAB_CASE(train, join_refuses_what_does_not_fit, kRobustness, {1}) {
  RunSpec spec;
  spec.body = "join_refusals";
  spec.params["tiling"] = Tiling{{{0, 3}}, {{0, 2}, {2, 3}}};
  const Run run = t.Launch(spec);
  for (const char* what : {"no link", "a tiling of 2 tiles for 1 link", "Send", "PostGradients", "TakeGradients"}) {
    t.Expect(run.Number(0, what) == 1, fmt::format("MakeJoin, {}: not refused, and must throw ContractError", what));
  }
}

SHARDLAB_CASE(train, curve_of_a_resnet, kValue, {2, 4}) {
  ExpectSameTraining(t, {"resnet", t.ranks() == 2 ? "1x2" : "2x2", 32});
}
SHARDLAB_CASE(train, curve_of_an_amoebanet, kValue, {2, 4}) {
  TiledTraining training{"amoebanet", t.ranks() == 2 ? "2x1" : "2x2", 16};
  training.batch = training.steps = 2;
  ExpectSameTraining(t, training);
}
SHARDLAB_CASE(train, curve_of_a_unet, kValue, {2, 6}) {
  ExpectSameTraining(t, {"unet", t.ranks() == 2 ? "1x2" : "2x3", 32});
}
SHARDLAB_CASE(train, tiles_joined_to_stages, kValue, {3, 5}) {
  TiledTraining training{"resnet", t.ranks() == 3 ? "1x2" : "2x2", 32, 2, 2};
  ExpectSameTraining(t, training);
}

SHARDLAB_CASE(train, two_tensors_cross_the_join, kGradient, {3, 6}) {
  TiledTraining training{"amoebanet", t.ranks() == 3 ? "2x1" : "2x2", 16, t.ranks() == 3 ? 2 : 3, 2};
  training.steps = 2;
  ExpectSameTraining(t, training);
}
SHARDLAB_CASE(train, skips_cross_the_join, kGradient, {3}) {
  TiledTraining training{"unet", "1x2", 24, 2, 2};
  training.steps = 2;
  ExpectSameTraining(t, training);
}

SHARDLAB_CASE(train, the_join_costs_one_message_a_tile, kCost, {5}) {
  TiledTraining training{"unet", "2x2", 16, 2, 2};
  training.steps = 2;
  const Images data = DrawImages(t, 2 * training.batch + 1);
  RunSpec spec;
  spec.body = "train_joined";
  spec.params = training.ToJson();
  spec.inputs = {{"images", {data.pixels}}, {"labels", {data.labels}}};
  spec.limit_s = 60;
  const Run run = t.Launch(spec);
  // In the second step nobody has to be told any sizes: what the rank behind the tiles sends is gradients, one message for
  // each tile, micro-batch and tensor that crosses.
  const LayerSequence model = training.Model();
  int crossing = 1;
  const int front = training.Balance()[0];
  std::vector<std::string> open;
  for (int layer = 0; layer < static_cast<int>(model.size()); ++layer) {
    for (const std::string& name : model[static_cast<size_t>(layer)].stashes) {
      if (layer < front) open.push_back(name);
    }
    for (const std::string& name : model[static_cast<size_t>(layer)].pops) {
      if (layer >= front && std::find(open.begin(), open.end(), name) != open.end()) ++crossing;
    }
  }
  t.ExpectCost("gradients back over the join: tiles x micro-batches x tensors",
               static_cast<double>(TrafficBetween(run, 4, "step 1", "done").messages), 4.0 * 2 * crossing, "messages");
}

SHARDLAB_CASE(train, odd_images_and_uneven_micro_batches, kRobustness, {4, 3}) {
  if (t.ranks() == 4) {
    ExpectSameTraining(t, {"resnet", "2x2", 27, 1, 1, 3, 2});
  } else {
    ExpectSameTraining(t, {"resnet", "1x2", 27, 2, 2, 5, 2});
  }
}

SHARDLAB_CASE(train, late_messages, kRobustness, {3}) {
  TiledTraining training{"amoebanet", "1x2", 16, 2, 3};
  training.steps = 2;
  ExpectSameTraining(t, training, LateMessages(t, 0.002));
}

}  // namespace shardlab::grade
