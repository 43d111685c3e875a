// Training without an axis pipe: every rank runs all layers.

#include <cmath>

#include <torch/torch.h>

#include "runner.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/communication/data_parallel.hpp"

namespace shardlab::train {
namespace {

constexpr int64_t kBucketBytes = int64_t{1} << 20;

class WholeModelRunner final : public Runner {
 public:
  WholeModelRunner(const Task& task, const Cut& cut, const ShardBoxes& boxes, DeviceMesh& mesh, const Tiles& tiles)
      : task_(task),
        tiles_(tiles),
        data_(mesh.Along("data")),
        together_(mesh.Together({"data", "spatial"})),
        tensor_(mesh.Along("tensor")),
        module_(cut.model, 0, static_cast<int>(cut.model.size())),
        optimizer_(MakeOptimizer(task.request.MakeRecipe(), module_.parameters())),
        loader_(task.MakeLoader()) {
    module_.train();
    if (task.request.clip > 0) counts_ = boxes.Counts(module_);
  }

  bool AllAtOnce() const override { return false; }

  std::vector<double> Run(int64_t first, int64_t count, const std::function<void(int64_t)>& begun) override {
    std::vector<double> losses;
    for (int64_t step = first; step < first + count; ++step) {
      begun(step);
      losses.push_back(Step(step));
    }
    return losses;
  }

  Tensors Evaluate(const at::Tensor& images) override {
    const torch::NoGradGuard no_grad;
    MicroBatch all;
    all.training = false;
    all.batch = images.size(0);
    all.samples = {0, all.batch};
    module_.eval();
    const Tensors logits = module_.Forward({tiles_.PixelsOf(images)}, all);
    module_.train();
    return logits;
  }

  std::vector<Held> Holds() override { return {{&module_, optimizer_.get()}}; }
  void Show() override {}

 private:
  double Step(int64_t step) {
    const int replica = data_->rank(), replicas = data_->size();
    const auto whole = static_cast<int64_t>(loader_.Samples(step).size());
    Batch mine = task_.BatchOf(loader_, step, replica, replicas);
    mine.images = tiles_.PixelsOf(mine.images);
    MicroBatch at;
    at.step = step;
    at.index = replica;
    at.count = replicas;
    at.samples = SplitRange(whole, replicas, replica);
    at.batch = whole;
    const Trainable trainable{module_.parameters(), [&](const at::Tensor& images, const at::Tensor& labels) {
                                return at::cross_entropy_loss(module_.Forward({images}, at).at(0), labels);
                              }};
    optimizer_->zero_grad();
    double loss = 0;
    if (together_->size() == 1) {  // alone, a rank needs nothing of the module communication
      const at::Tensor mean_loss = trainable.mean_loss(mine.images, mine.labels);
      mean_loss.backward();
      loss = mean_loss.item().toDouble();
    } else {
      // Every image is on each of its tiles' ranks, so there it counts one part of as many.
      loss = DataParallelStep(*together_, trainable, mine.images, mine.labels, whole * tiles_.count(),
                              /*micro_batches=*/1, kBucketBytes);
    }
    if (task_.request.clip > 0) Clip();
    optimizer_->step();
    return loss;
  }

  // By the norm of the whole model, whose shards are on several ranks.
  void Clip() {
    std::vector<at::Tensor> gradients;
    const at::Tensor squares = at::zeros({}, at::kDouble);
    for (const at::Tensor& parameter : module_.parameters()) {
      if (!parameter.requires_grad()) continue;
      const double counts = counts_[gradients.size()];
      gradients.push_back(parameter.grad());
      if (parameter.grad().defined()) squares.add_(parameter.grad().to(at::kDouble).square().sum() * counts);
    }
    tensor_->AllReduce(squares);
    const double scale = task_.request.clip / (std::sqrt(squares.item().toDouble()) + 1e-6);
    if (!(scale < 1)) return;
    for (const at::Tensor& gradient : gradients) {
      if (gradient.defined()) gradient.mul_(scale);
    }
  }

  const Task& task_;
  const Tiles& tiles_;
  const std::shared_ptr<Communicator> data_, together_, tensor_;
  StageModule module_;
  const std::unique_ptr<torch::optim::Optimizer> optimizer_;
  cifar::Loader loader_;
  std::vector<double> counts_;  // of each gradient in the norm
};

}  // namespace

std::unique_ptr<Runner> MakeWholeModelRunner(const Task& task, const Cut& cut, const ShardBoxes& boxes,
                                             DeviceMesh& mesh, const Tiles& tiles) {
  return std::make_unique<WholeModelRunner>(task, cut, boxes, mesh, tiles);
}

}  // namespace shardlab::train
