#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <torch/torch.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/grade/body.hpp"
#include "shardlab/layers/tiled_image.hpp"
#include "shardlab/pipeline/deferred_statistics.hpp"
#include "shardlab/pipeline/engine.hpp"
#include "shardlab/pipeline/generators.hpp"
#include "shardlab/pipeline/policies.hpp"
#include "shardlab/plan/passes.hpp"
#include "shardlab/spatial/fused_halo.hpp"
#include "shardlab/spatial/join.hpp"
#include "shardlab/spatial/tile_ops.hpp"
#include "tiled_training.hpp"
#include "tiling_json.hpp"

// Whole models on tiles: all layers of them, or the first stage of a pipeline.

namespace shardlab::grade {
namespace {

constexpr int64_t kChannels = 3;

void OutputModel(RankContext& ctx, const StageModule& module) {
  for (const auto& [name, value] : module.NamedParameters()) ctx.Output("param." + name, value.detach());
  for (const auto& [name, value] : module.NamedBuffers()) ctx.Output("buffer." + name, value.detach());
}

}  // namespace

// Convolutions one after the other, in groups that share a halo: values, gradients, and marks around the forward.
SHARDLAB_BODY(chain) {
  const auto windows = ctx.params().at("windows").get<std::vector<ImageWindow>>();
  const int64_t side = ctx.Param<int64_t>("side");
  LayerSequence model;
  std::vector<at::Tensor> weights;
  for (size_t i = 0; i < windows.size(); ++i) {
    weights.push_back(ctx.Input("weight" + std::to_string(i)).requires_grad_(true));
    const ImageWindow window = windows[i];
    model.push_back(SimpleLayer(
        "conv" + std::to_string(i), [] { return torch::nn::Identity(); },
        [weight = weights.back(), window](auto&, const at::Tensor& x) {
          return at::conv2d(x, weight, {}, {window.rows.stride, window.columns.stride},
                            at::IntArrayRef{window.rows.padding, window.columns.padding},
                            {window.rows.dilation, window.columns.dilation});
        }));
  }
  const std::shared_ptr<TileOps> ops = MakeTileOps(ctx.shared_comm());
  ops->outputs_within = OutputsWithin;
  const TilePlan plan =
      PlanTiles(model, 1, side, side, ParseGrid(ctx.Param<std::string>("grid")), *ops, ctx.Param<int>("group"));
  StageModule module(SpatialSequence(model, plan, ops), 0, static_cast<int>(model.size()));
  at::Tensor x =
      ViewOfPixels(ctx.Input("x"), plan.front().in.front().TileOf(ctx.rank())).contiguous().requires_grad_(true);
  ctx.Mark("forward");
  const at::Tensor y = module.Forward({x}, MicroBatch{}).at(0);
  ctx.Mark("backward");
  y.backward(ViewOfPixels(ctx.Input("dy"), plan.back().out.front().TileOf(ctx.rank())));
  ctx.Mark("end");
  ctx.Output("y", y.detach());
  ctx.Output("dx", x.grad());
  for (size_t i = 0; i < weights.size(); ++i) ctx.Output("dweight" + std::to_string(i), weights[i].grad());
}

// All layers on tiles: every rank has the loss, and counts one part of it.
SHARDLAB_BODY(train_on_tiles) {
  const TiledTraining training = TiledTraining::FromJson(ctx.params());
  const std::shared_ptr<TileOps> ops = MakeTileOps(ctx.shared_comm());
  const LayerSequence model = training.Model();
  const TilePlan plan = PlanTiles(model, kChannels, training.side, training.side, ParseGrid(training.grid), *ops);
  StageModule module(SpatialSequence(model, plan, ops), 0, static_cast<int>(model.size()));
  const auto optimizer = MakeOptimizer(training.HowToUpdate(), module.parameters());
  const Box mine = plan.front().in.front().TileOf(ctx.rank());
  std::vector<double> losses;
  for (int64_t step = 0; step < training.steps; ++step) {
    const Batch batch = training.BatchOf(step, ctx.Input("images"), ctx.Input("labels"));
    MicroBatch at;
    at.step = step;
    at.samples = {0, training.batch};
    at.batch = training.batch;
    optimizer->zero_grad();
    const at::Tensor logits = module.Forward({ViewOfPixels(batch.images, mine)}, at).at(0);
    const at::Tensor loss = at::cross_entropy_loss(logits, batch.labels) / ctx.size();
    loss.backward();
    for (const at::Tensor& parameter : module.parameters()) {
      if (parameter.grad().defined()) ctx.comm().AllReduce(parameter.grad());
    }
    optimizer->step();
    const at::Tensor sum = loss.detach().clone();
    ctx.comm().AllReduce(sum);
    losses.push_back(sum.item<double>());
  }
  ctx.Output("losses", at::tensor(losses, at::kDouble));
  OutputModel(ctx, module);
}

// Tiles' ranks and the one behind them, with nothing but links: a tensor that is cut, and one that is whole.
SHARDLAB_BODY(join) {
  const Tiling tiling = ctx.params().at("tiling").get<Tiling>();
  const int tiles = tiling.size();
  const MicroBatch at;
  if (ctx.rank() < tiles) {
    const auto link = MakeLink(ctx.shared_comm(), tiles, 0);
    link->Send(0, at, {ctx.Input("tile").requires_grad_(true), ctx.Input("whole").requires_grad_(true)});
    const Tensors gradients = link->TakeGradients(0);
    for (size_t i = 0; i < gradients.size(); ++i) ctx.Output("gradient" + std::to_string(i), gradients[i]);
    link->Finish();
    return;
  }
  std::vector<std::unique_ptr<Link>> links;
  for (int tile = 0; tile < tiles; ++tile) links.push_back(MakeLink(ctx.shared_comm(), tile, 0));
  const auto link = MakeJoin(std::move(links), {tiling, Tiling{}});
  link->Post(0, at);
  const Tensors taken = link->Take(0, at);
  ctx.Number("tensors", static_cast<double>(taken.size()));
  for (size_t i = 0; i < taken.size(); ++i) {
    ctx.Output("taken" + std::to_string(i), taken[i].detach());
    ctx.Number("needs" + std::to_string(i), taken[i].requires_grad() ? 1 : 0);
  }
  link->SendGradients(0, {ctx.Input("dtile"), ctx.Input("dwhole")});
  link->Finish();
}

// What a join refuses: no link, tilings for another number of tiles, and what only the earlier end of a link has.
SHARDLAB_BODY(join_refusals) {
  const Tiling tiling = ctx.params().at("tiling").get<Tiling>();
  const auto links = [] {
    std::vector<std::unique_ptr<Link>> some;
    some.push_back(MakeLocalLink());
    return some;
  };
  const auto refused = [&](const std::string& name, const std::function<void()>& call) {
    bool thrown = false;
    try {
      call();
    } catch (const ContractError&) {
      thrown = true;
    }
    ctx.Number(name, thrown ? 1 : 0);
  };
  refused("no link", [&] { MakeJoin({}, {tiling}); });
  refused("a tiling of 2 tiles for 1 link", [&] { MakeJoin(links(), {tiling}); });
  const auto join = MakeJoin(links(), {Tiling{}});
  refused("Send", [&] { join->Send(0, {}, {at::zeros({1})}); });
  refused("PostGradients", [&] { join->PostGradients(0); });
  refused("TakeGradients", [&] { join->TakeGradients(0); });
}

// The first stage on tiles, and stages of one rank each behind it.
SHARDLAB_BODY(train_joined) {
  const TiledTraining training = TiledTraining::FromJson(ctx.params());
  const Positions positions = TiledPositions(training.stages, 1, training.tiles());
  const int position = positions.Of(ctx.rank());
  const std::shared_ptr<Communicator> group = ctx.comm().Split(position, ctx.rank(), "tiles");
  const std::shared_ptr<TileOps> ops = MakeTileOps(group);

  PipelineSetup setup{training.Model(), training.Balance(), Layout::Linear(training.stages)};
  const LayerSequence front(setup.model.begin(), setup.model.begin() + setup.balance[0]);
  const TilePlan plan = PlanTiles(front, kChannels, training.side, training.side, ParseGrid(training.grid), *ops);
  if (position == 0) {
    const LayerSequence tiled = SpatialSequence(front, plan, ops);
    std::copy(tiled.begin(), tiled.end(), setup.model.begin());
  }
  setup.loss = [](const Tensors& outputs, const at::Tensor& targets) {
    return at::cross_entropy_loss(outputs[0], targets);
  };
  setup.optimizer = [&](int, const std::vector<at::Tensor>& parameters) {
    return MakeOptimizer(training.HowToUpdate(), parameters);
  };
  setup.statistics = MakeDeferredStatistics();
  if (group->size() > 1) setup.same_weights = group;
  setup.tiles = {positions, MakeJoin, plan};
  const auto engine = MakeEngine(std::move(setup), ctx.shared_comm());

  const Schedule schedule =
      AddCommunication(AddGradientReduction(Flush(OneFOneB(training.stages, training.micro_batches))));
  std::vector<double> losses;
  for (int64_t step = 0; step < training.steps; ++step) {
    ctx.Mark("step " + std::to_string(step));
    const auto source = [&](int64_t) {
      const Batch batch = training.BatchOf(step, ctx.Input("images"), ctx.Input("labels"));
      MiniBatch mini;
      mini.samples = training.batch;
      mini.targets = batch.labels;
      mini.inputs = {position == 0 ? ViewOfPixels(batch.images, plan.front().in.front().TileOf(group->rank()))
                                   : batch.images};
      return mini;
    };
    const std::vector<double> of_step = engine->Run(schedule, source);
    losses.insert(losses.end(), of_step.begin(), of_step.end());
  }
  ctx.Mark("done");
  if (position + 1 == training.stages) ctx.Output("losses", at::tensor(losses, at::kDouble));
  OutputModel(ctx, engine->Module(position));
}

}  // namespace shardlab::grade
