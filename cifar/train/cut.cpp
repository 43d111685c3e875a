#include "cut.hpp"

#include <algorithm>
#include <numeric>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "pipeline_request.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/models/sequences.hpp"
#include "shardlab/pipeline/balance.hpp"
#include "shardlab/plan/validate.hpp"
#include "shardlab/report/terminal.hpp"
#include "shardlab/tensor_parallel/parallel_model.hpp"

namespace shardlab::train {
namespace {

// The large models are whole on every rank. The small ones are made by the module tensor_parallel even when nothing is
// split, so that a student's layers are trained; but a pipeline alone needs no layers of theirs.
LayerSequence SequenceOn(const Task& task, DeviceMesh& mesh) {
  const auto& small = ModelNames();
  const bool is_small = std::find(small.begin(), small.end(), task.request.model) != small.end();
  return is_small && task.request.grid.size() == 1 && (mesh.Size("tensor") > 1 || !task.request.pipeline)
             ? MakeParallelModel(task.request.model, task.model_options, mesh.Along("tensor"))
             : MakeSequence(task.request.model, task.model_options);
}

// Every batch of an epoch has images for each micro-batch of each replica.
void RequireBatches(const TrainRequest& request, cifar::Loader& loader, int64_t first, int64_t images, int replicas) {
  const int64_t end = first + std::min(request.steps, loader.batches_per_epoch());
  for (int64_t step = first; step < end; ++step) {
    const auto batch = static_cast<int64_t>(loader.Samples(step).size());
    const int64_t needed = IsAsynchronous(request) ? int64_t{replicas} * request.micro_batches : replicas;
    if (batch < needed) {
      throw UsageError(
          fmt::format("--batch {}: the last batch of an epoch has {} of {} images, and {} are needed: choose "
                      "one that divides {}",
                      request.batch, batch, images, needed, images));
    }
    MicroBatchesOf(request, batch / replicas);
  }
}

// A micro-batch of the first step, as the first replica has it.
int64_t ImagesOfAMicroBatch(const TrainRequest& request, int64_t samples) {
  return std::max<int64_t>(1, samples / MicroBatchesOf(request, samples));
}

std::vector<int> BalanceOf(const TrainRequest& request, const std::vector<LayerProfile>& profile, int64_t samples) {
  const int layers = static_cast<int>(profile.size());
  const std::vector<int> fixed = FixedBalance(request, layers);
  if (!fixed.empty()) return fixed;
  const int copies = request.optimizer == "adam" ? 4 : 3;
  const int updates = IsAsynchronous(request) ? static_cast<int>(request.steps) : 1;
  const Footprint keeps = Validate(ScheduleOf(request, MicroBatchesOf(request, samples), updates));
  const int live = *std::max_element(keeps.live.begin(), keeps.live.end());
  try {
    return Balance(request.balance == "memory" ? BytesOf(profile, copies, live)
                                               : SecondsOf(profile, /*recomputes=*/request.recompute != "never"),
                   StagesOf(request));
  } catch (const NotImplemented&) {
    if (!request.balance.empty()) throw;
    TrainRequest even = request;  // nobody asked for a good cut
    even.balance = "even";
    return FixedBalance(even, layers);
  }
}

}  // namespace

CostModel Cut::Costs() const {
  CostModel costs;
  costs.forward.assign(balance.size(), 0);
  costs.backward_input.assign(balance.size(), 0);
  size_t layer = 0;
  for (size_t stage = 0; stage < balance.size(); ++stage) {
    for (int i = 0; i < balance[stage]; ++i, ++layer) {
      costs.forward[stage] += profile[layer].forward_s;
      costs.backward_input[stage] += profile[layer].backward_s / 2;
    }
  }
  costs.backward_weight = costs.backward_input;
  return costs;
}

std::string Cut::Text() const {
  constexpr double kMiB = 1 << 20;
  const CostModel costs = Costs();
  std::string text = "stage  layers                             parameters  forward + backward  activations\n";
  size_t layer = 0;
  for (size_t stage = 0; stage < balance.size(); ++stage) {
    int64_t parameters = 0, activations = 0;
    const size_t begin = layer;
    for (; layer < begin + static_cast<size_t>(balance[stage]); ++layer) {
      parameters += profile[layer].parameters;
      activations += profile[layer].activation_bytes;
    }
    const std::string layers =
        balance[stage] == 1 ? model[begin].name
                            : fmt::format("{}: {} to {}", balance[stage], model[begin].name, model[layer - 1].name);
    text += fmt::format("{:<5}  {:<34} {:>10}  {:>15.2f} ms  {:>7.2f} MiB\n", stage, layers,
                        PrettyNumber(static_cast<double>(parameters)),
                        1e3 * (costs.forward[stage] + costs.backward_input[stage] + costs.backward_weight[stage]),
                        static_cast<double>(activations) / kMiB);
  }
  return text + fmt::format("--balance {}; times and activations are those of one micro-batch\n", BalanceText(balance));
}

Cut MakeCut(const Task& task, DeviceMesh& mesh, Tiles& tiles) {
  const TrainRequest& request = task.request;
  Cut cut;
  cut.model = SequenceOn(task, mesh);
  if (!request.pipeline) {
    cut.balance = {static_cast<int>(cut.model.size())};
    tiles.Cut(&cut.model, cut.balance[0]);
    return cut;
  }
  cifar::Loader loader = task.MakeLoader();
  RequireBatches(request, loader, task.first_step(), task.train->size(), mesh.Size("data"));
  const auto stages = static_cast<int64_t>(StagesOf(request));
  at::Tensor sizes = at::zeros({stages}, at::kLong);
  if (mesh.Coordinate("data") == 0 && mesh.Coordinate("pipe") == 0) {
    const int64_t step = task.first_step();
    const auto samples = static_cast<int64_t>(loader.Samples(step, 0, mesh.Size("data")).size());
    const at::Tensor images = loader.Get(step).images.slice(0, 0, ImagesOfAMicroBatch(request, samples));
    cut.profile = ProfileLayers(cut.model, {task.Enlarged(images)}, {3});
    if (mesh.world().rank() == 0) {
      cut.balance = BalanceOf(request, cut.profile, samples);
      sizes = at::tensor(std::vector<int64_t>(cut.balance.begin(), cut.balance.end()), at::kLong);
    } else {
      cut.profile.clear();
    }
  }
  mesh.world().Broadcast(sizes, 0);
  cut.balance.assign(sizes.data_ptr<int64_t>(), sizes.data_ptr<int64_t>() + stages);
  const auto tiled = cut.balance.begin() + request.spatial_stages;
  tiles.Cut(&cut.model, std::accumulate(cut.balance.begin(), tiled, 0));
  return cut;
}

}  // namespace shardlab::train
