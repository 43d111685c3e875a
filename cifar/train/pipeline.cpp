// Training along the axis pipe.
//
//   mesh data=2,pipe=3          stage 0        stage 1        stage 2
//
//       replica 0               rank 0 ------> rank 1 ------> rank 2       its part of the batch, in micro-batches
//       replica 1               rank 3 ------> rank 4 ------> rank 5       the other part
//                                  \______________\______________\______   REDUCE_GRAD: the sum of both
//
// The loss of a micro-batch counts n_i of all B images of the update, so losses and gradients of the replicas add up.

#include <algorithm>
#include <cstdio>
#include <map>

#include <fmt/format.h>
#include <torch/torch.h>

#include "pipeline_request.hpp"
#include "runner.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/pipeline/deferred_statistics.hpp"
#include "shardlab/pipeline/engine.hpp"
#include "shardlab/pipeline/stage_times.hpp"
#include "shardlab/plan/traits.hpp"
#include "shardlab/report/files.hpp"
#include "timeline.hpp"

namespace shardlab::train {
namespace {

constexpr int kDrawnUpdates = 3;  // of an asynchronous run

class PipelineRunner final : public Runner {
 public:
  PipelineRunner(const Task& task, const Cut& cut, const ShardBoxes& boxes, DeviceMesh& mesh, const Tiles& tiles)
      : task_(task),
        request_(task.request),
        cut_(cut),
        tiles_(tiles),
        pipe_(mesh.Along("pipe")),
        one_each_(tiles.Stages().positions.ranks.empty() ? pipe_
                                                         : pipe_->Split(tiles.tile(), pipe_->rank(), "one tile")),
        data_(mesh.Along("data")),
        speaks_(mesh.world().rank() == 0),
        shows_(mesh.Coordinate("data") == 0 && mesh.Coordinate("tensor") == 0 && tiles.tile() == 0),
        loader_(task.MakeLoader()) {
    MakeTheEngine(boxes, mesh);
  }

  bool AllAtOnce() const override { return IsAsynchronous(request_); }

  std::vector<double> Run(int64_t first, int64_t count, const std::function<void(int64_t)>& begun) override {
    const int microbatches = MicroBatchesOf(request_, SamplesOf(first));
    // The last whole step is the one that is shown.
    if (microbatches == MicroBatchesOf(request_, SamplesOf(task_.first_step()))) stage_times_.Clear();
    const auto source = [&](int64_t update) {
      begun(first + update);
      return BatchOf(first + update);
    };
    (void)count;  // is in the schedule
    return engine_->Run(ScheduleFor(microbatches), source, AllAtOnce() ? microbatches : 0);
  }

  Tensors Evaluate(const at::Tensor& images) override {
    MiniBatch batch;
    batch.samples = images.size(0);
    batch.inputs = {tiles_.PixelsOf(images)};
    return engine_->Evaluate(batch, std::min<int>(request_.Along("pipe"), static_cast<int>(batch.samples)));
  }

  std::vector<Held> Holds() override {
    std::vector<Held> holds;
    for (const int chunk : schedules_.begin()->second.layout.ChunksOf(tiles_.position())) {
      const auto optimizer = optimizers_.find(chunk);
      holds.push_back({&engine_->Module(chunk), optimizer == optimizers_.end() ? nullptr : optimizer->second});
    }
    return holds;
  }

  // The plan, from the measured layers, and the run, from the clock.
  void Show() override {
    if (!shows_) return;
    const int updates = AllAtOnce() ? static_cast<int>(std::min<int64_t>(request_.steps, kDrawnUpdates)) : 1;
    const Schedule shown = ScheduleOf(request_, MicroBatchesOf(request_, SamplesOf(task_.first_step())), updates);
    const Simulation run = GatherRun(stage_times_, shown.microbatches, *one_each_);
    if (!speaks_ || run.makespan == 0) return;
    const Simulation plan = Simulate(shown, cut_.Costs());
    const char* what = updates == 1 ? "a step" : "the first updates";
    fmt::print("\n{}, {}: planned {:.1f} ms with a bubble of {:.0f} %, took {:.1f} ms with {:.0f} %\n\n",
               request_.schedule, what, 1e3 * plan.makespan, 100 * plan.bubble, 1e3 * run.makespan, 100 * run.bubble);
    const double whole = std::max(plan.makespan, run.makespan);
    fmt::print("plan, from the layers' times alone (ms)\n{}\n", DrawTimes(shown, plan, whole));
    fmt::print("run (ms)\n{}\n", DrawTimes(shown, run, whole));
    if (!request_.trace.empty()) {
      WriteFileSafely(request_.trace, TraceOfPlanAndRun(shown, plan, run));
      fmt::print("plan and run: {} (ui.perfetto.dev or chrome://tracing)\n", request_.trace);
    }
    std::fflush(stdout);
  }

 private:
  void MakeTheEngine(const ShardBoxes& boxes, DeviceMesh& mesh) {
    const bool splits = SplitsBackward(request_);
    PipelineSetup setup{cut_.model, cut_.balance,
                        ScheduleFor(MicroBatchesOf(request_, SamplesOf(task_.first_step()))).layout};
    // Where the last stage has tiles, each of its ranks has the loss, and counts a part of it.
    setup.loss = [parts = tiles_.count()](const Tensors& outputs, const at::Tensor& targets) {
      const at::Tensor loss = at::cross_entropy_loss(outputs[0], targets);
      return parts == 1 ? loss : loss / parts;
    };
    setup.optimizer = [this](int chunk, const std::vector<at::Tensor>& parameters) {
      auto optimizer = MakeOptimizer(request_.MakeRecipe(), parameters);
      optimizers_[chunk] = optimizer.get();
      return optimizer;
    };
    setup.stage = stage_times_.Watched([splits](int) { return splits ? MakeSplitStage() : MakeStage(); });
    setup.weights = AllAtOnce() ? WeightStoreFactory(MakeWeightVersions) : WeightStoreFactory(MakeWeights);
    if (KeepsStatistics(task_)) setup.statistics = MakeDeferredStatistics();
    setup.first_update = task_.first_step();
    setup.same_weights = tiles_.same_stages();
    setup.tiles = tiles_.Stages();
    setup.clip_norm = request_.clip;
    const bool shards = request_.clip > 0 && mesh.Size("tensor") > 1;
    if (shards) {
      setup.norm_ranks = mesh.Together({"pipe", "tensor"});
      setup.norm_count = [this](int chunk, size_t parameter) { return counts_.at(chunk).at(parameter); };
    }
    if (request_.clip > 0 && request_.grid.size() > 1) {
      setup.norm_count = [tiles = tiles_.count()](int, size_t) { return 1.0 / tiles; };
    }
    const std::vector<int> chunks = setup.layout.ChunksOf(tiles_.position());
    engine_ = MakeEngine(std::move(setup), pipe_);
    for (const int chunk : chunks) {
      if (shards) counts_[chunk] = boxes.Counts(engine_->Module(chunk));
    }
  }

  const Schedule& ScheduleFor(int microbatches) {
    const auto found = schedules_.find(microbatches);
    if (found != schedules_.end()) return found->second;
    const int updates = AllAtOnce() ? static_cast<int>(request_.steps) : 1;
    return schedules_.emplace(microbatches, ScheduleOf(request_, microbatches, updates)).first->second;
  }

  int64_t SamplesOf(int64_t step) {
    return static_cast<int64_t>(loader_.Samples(step, data_->rank(), data_->size()).size());
  }

  MiniBatch BatchOf(int64_t step) {
    MiniBatch batch;
    batch.samples = SamplesOf(step);
    batch.update_samples = static_cast<int64_t>(loader_.Samples(step).size());
    batch.first = SplitRange(batch.update_samples, data_->size(), data_->rank()).begin;
    if (tiles_.position() != 0 && !tiles_.is_last()) return batch;
    const Batch mine = task_.BatchOf(loader_, step, data_->rank(), data_->size());
    batch.inputs = {tiles_.PixelsOf(mine.images)};
    batch.targets = mine.labels;
    return batch;
  }

  const Task& task_;
  const TrainRequest& request_;
  const Cut& cut_;
  const Tiles& tiles_;
  const std::shared_ptr<Communicator> pipe_;
  const std::shared_ptr<Communicator> one_each_;  // one rank of each position: those of the same tile
  const std::shared_ptr<Communicator> data_;
  const bool speaks_, shows_;
  cifar::Loader loader_;
  StageTimes stage_times_;
  std::map<int, Schedule> schedules_;                   // by micro-batches
  std::map<int, torch::optim::Optimizer*> optimizers_;  // by chunk, of those that have one; they belong to the engine
  std::map<int, std::vector<double>> counts_;  // by chunk: of each gradient in the norm, where layers are split
  std::unique_ptr<Engine> engine_;
};

}  // namespace

std::unique_ptr<Runner> MakePipelineRunner(const Task& task, const Cut& cut, const ShardBoxes& boxes, DeviceMesh& mesh,
                                           const Tiles& tiles) {
  return std::make_unique<PipelineRunner>(task, cut, boxes, mesh, tiles);
}

}  // namespace shardlab::train
