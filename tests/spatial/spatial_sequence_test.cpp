// Any model on tiles is the model on whole images.
//
//     image  --->  layer 0  --->  layer 1  --->  ...  --->  logits      one process
//
//     +---+---+
//     | 0 | 1 |    layer 0        layer 1                   logits      four ranks, each with its pixels
//     +---+---+ -> on tiles  ---> on tiles  --->  ...  ---> on each
//     | 2 | 3 |
//     +---+---+
//
// The loss counts 1/4 on each rank; gradients of weights are summed. Values, gradients and running statistics are
// those of one process.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <torch/torch.h>

#include "shardlab/comm/mailbox.hpp"
#include "shardlab/layers/tiled_image.hpp"
#include "shardlab/models/sequences.hpp"
#include "shardlab/spatial/fused_halo.hpp"
#include "shardlab/spatial/tile_ops.hpp"

namespace shardlab {
namespace {

struct Trial {
  std::string model;
  int64_t side;
  std::string grid;
  int group = 0;  // layers that share an exchange
};

std::shared_ptr<Communicator> Borrow(Communicator& comm) {
  return {&comm, [](Communicator*) {}};
}

// What training on some images gives: outputs, then gradients by name, then buffers.
struct Result {
  at::Tensor logits, dx;
  std::vector<std::pair<std::string, at::Tensor>> gradients, buffers;
};

Result Train(const LayerSequence& model, const at::Tensor& x, const at::Tensor& labels, double share) {
  SequenceClassifier classifier(model);
  MicroBatch at;
  at.samples = {0, x.size(0)};
  at.batch = x.size(0);
  classifier.Prepare(at);
  Result result;
  result.logits = classifier.forward(x);
  (at::cross_entropy_loss(result.logits, labels) * share).backward();
  result.dx = x.grad();
  for (const auto& parameter : classifier.named_parameters()) {
    result.gradients.emplace_back(parameter.key(), parameter.value().grad());
  }
  for (const auto& buffer : classifier.named_buffers()) result.buffers.emplace_back(buffer.key(), buffer.value());
  return result;
}

// In the norm of the tensor, as semantics of equality ask.
void Near(const at::Tensor& got, const at::Tensor& expected, double scale, const std::string& what) {
  ASSERT_EQ(got.sizes(), expected.sizes()) << what;
  const double off = (got - expected).norm().item<double>(), size = expected.norm().item<double>();
  EXPECT_LE(off, 1e-10 * std::max(size, 1e-3 * scale)) << what;
}

void ExpectOneProcess(const Trial& trial) {
  const Grid grid = ParseGrid(trial.grid);
  ModelOptions options;
  options.side = trial.side;
  options.dtype = at::kDouble;
  at::manual_seed(1);
  const at::Tensor images = at::randn({3, 3, trial.side, trial.side}, at::kDouble);
  const at::Tensor labels = at::tensor({1, 4, 7}, at::kLong);
  at::Tensor whole_x = images.clone().requires_grad_(true);
  const Result whole = Train(MakeSequence(trial.model, options), whole_x, labels, 1);
  double squares = 0;
  for (const auto& [name, gradient] : whole.gradients) squares += gradient.square().sum().item<double>();
  const double scale = std::sqrt(squares / static_cast<double>(whole.gradients.size()));

  RunOnMailbox(grid.size(), [&](Communicator& world) {
    const auto ops = MakeTileOps(Borrow(world));
    ops->outputs_within = OutputsWithin;
    const TilePlan plan =
        PlanTiles(MakeSequence(trial.model, options), 3, trial.side, trial.side, grid, *ops, trial.group);
    const Box mine = plan.front().in.front().TileOf(world.rank());
    at::Tensor x = images.slice(2, mine.ranges[0].begin, mine.ranges[0].end)
                       .slice(3, mine.ranges[1].begin, mine.ranges[1].end)
                       .clone()
                       .requires_grad_(true);
    Result tiles = Train(SpatialSequence(MakeSequence(trial.model, options), plan, ops), x, labels, 1.0 / grid.size());
    const std::string where = fmt::format("{} {} rank {}: ", trial.model, trial.grid, world.rank());
    Near(tiles.logits.detach(), whole.logits.detach(), 0, where + "logits");
    Near(tiles.dx,
         whole.dx.slice(2, mine.ranges[0].begin, mine.ranges[0].end).slice(3, mine.ranges[1].begin, mine.ranges[1].end),
         whole.dx.norm().item<double>(), where + "dx");
    for (size_t i = 0; i < whole.gradients.size(); ++i) {
      world.AllReduce(tiles.gradients[i].second);
      Near(tiles.gradients[i].second, whole.gradients[i].second, scale, where + whole.gradients[i].first);
    }
    for (size_t i = 0; i < whole.buffers.size(); ++i) {
      Near(tiles.buffers[i].second.to(at::kDouble), whole.buffers[i].second.to(at::kDouble), 0,
           where + whole.buffers[i].first);
    }
  });
}

TEST(SpatialSequence, ResNetOnHalves) { ExpectOneProcess({"resnet18", 16, "1x2"}); }
TEST(SpatialSequence, ResNetOnQuartersOfAnOddImage) { ExpectOneProcess({"resnet18", 19, "2x2"}); }
TEST(SpatialSequence, ResNetOfLargeImages) { ExpectOneProcess({"resnet18", 64, "2x1"}); }
TEST(SpatialSequence, BottlenecksOnThirds) { ExpectOneProcess({"resnet50", 24, "3x1"}); }
TEST(SpatialSequence, AmoebaNetOnQuarters) { ExpectOneProcess({"amoebanet-3-16", 16, "2x2"}); }
TEST(SpatialSequence, AmoebaNetOnThirds) { ExpectOneProcess({"amoebanet-3-16", 20, "1x3"}); }
TEST(SpatialSequence, UNetOnQuarters) { ExpectOneProcess({"unet-1-8", 32, "2x2"}); }
TEST(SpatialSequence, UNetOfAnOddImage) { ExpectOneProcess({"unet-1-8", 27, "2x2"}); }
TEST(SpatialSequence, ResNetWithFusedHalos) { ExpectOneProcess({"resnet18", 32, "2x2", 3}); }
TEST(SpatialSequence, ResNetOfAnOddImageWithFusedHalos) { ExpectOneProcess({"resnet18", 27, "1x2", 2}); }
TEST(SpatialSequence, AmoebaNetWithFusedHalos) { ExpectOneProcess({"amoebanet-3-16", 32, "2x2", 2}); }
TEST(SpatialSequence, UNetWithFusedHalos) { ExpectOneProcess({"unet-2-8", 32, "2x2", 2}); }
TEST(SpatialSequence, OneTile) { ExpectOneProcess({"amoebanet-3-16", 16, "1x1"}); }

}  // namespace
}  // namespace shardlab
