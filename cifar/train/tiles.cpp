#include "tiles.hpp"

#include <numeric>

#include <fmt/format.h>

#include "pipeline_request.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/launch/run_ranks.hpp"
#include "shardlab/models/sequences.hpp"
#include "shardlab/spatial/fused_halo.hpp"
#include "shardlab/spatial/join.hpp"
#include "shardlab/spatial/tile_ops.hpp"

namespace shardlab::train {
namespace {

constexpr int64_t kChannels = 3;

}  // namespace

Tiles::Tiles(const TrainRequest& request, DeviceMesh& mesh) : request_(request), positions_(request.AllPositions()) {
  const int place = mesh.Coordinate("pipe") + mesh.Coordinate("spatial");  // one of the axes has size 1
  position_ = positions_.Of(place);
  const auto same = [&](int replica) { return replica * static_cast<int>(positions_.ranks.size()) + position_; };
  group_ = mesh.world().Split(same(mesh.Coordinate("data")) * mesh.Size("tensor") + mesh.Coordinate("tensor"),
                              mesh.world().rank(), "tiles");
  same_stages_ =
      mesh.world().Split(same(0) * mesh.Size("tensor") + mesh.Coordinate("tensor"), mesh.world().rank(), "same stages");
  if (same_stages_->size() == 1) same_stages_ = nullptr;
}

void Tiles::Cut(LayerSequence* model, int layers) {
  if (request_.grid.size() == 1) return;
  const LayerSequence front(model->begin(), model->begin() + layers);
  const std::shared_ptr<TileOps> ops = MakeTileOps(group_);
  if (request_.fused_halo > 0) ops->outputs_within = OutputsWithin;
  try {
    plan_ = PlanTiles(front, kChannels, request_.image, request_.image, request_.grid, *ops, request_.fused_halo);
  } catch (const ContractError& error) {
    throw UsageError(fmt::format("--mesh {}: {}", request_.mesh, error.what()));
  }
  if (count() == 1) return;  // a rank behind the tiles: it has to know how they lie, and no more
  const LayerSequence tiled = SpatialSequence(front, plan_, ops);
  std::copy(tiled.begin(), tiled.end(), model->begin());
}

TiledStages Tiles::Stages() const {
  if (request_.grid.size() == 1) return {};
  return {positions_, MakeJoin, plan_};
}

at::Tensor Tiles::PixelsOf(const at::Tensor& images) const {
  if (plan_.empty() || position_ != 0) return images;
  return ViewOfPixels(images, plan_.front().in.front().TileOf(tile())).contiguous();
}

void RequireTiles(const TrainRequest& request) {
  if (request.grid.size() == 1) return;
  // Where measured times decide how many layers the stages on tiles have, it is one each at least.
  const std::vector<int> balance = request.pipeline ? FixedBalance(request, LayersOf(request)) : std::vector<int>();
  const auto plan = [&](const std::shared_ptr<Communicator>& alone) {
    ModelOptions options;
    options.side = request.image;
    const auto ops = MakeTileOps(alone);
    LayerSequence model = MakeSequence(request.model, options);
    if (request.pipeline) {
      const int stages = request.spatial_stages;
      model.resize(static_cast<size_t>(
          balance.empty() ? stages : std::accumulate(balance.begin(), balance.begin() + stages, 0)));
    }
    PlanTiles(model, kChannels, request.image, request.image, request.grid, *ops);
  };
  const auto failures = RunRanks(1, plan);
  if (failures.empty()) return;
  if (!failures[0].usage) throw std::runtime_error(failures[0].message);
  throw UsageError(fmt::format("--mesh {}: {}", request.mesh, failures[0].message));
}

}  // namespace shardlab::train
