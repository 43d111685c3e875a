// Training along data and tensor.

#include <algorithm>
#include <chrono>

#include <fmt/format.h>
#include <torch/torch.h>

#include "shardlab/base/split.hpp"
#include "shardlab/communication/data_parallel.hpp"
#include "shardlab/layers/layer.hpp"
#include "shardlab/models/sequences.hpp"
#include "shardlab/report/progress.hpp"
#include "shardlab/tensor_parallel/parallel_model.hpp"
#include "task.hpp"

namespace shardlab::train {
namespace {

constexpr int64_t kBucketBytes = int64_t{1} << 20;

// The large models are whole on every rank; the small ones are made by the module even when nothing is split, so that a
// student's layers are trained.
LayerSequence SequenceOn(const Task& task, DeviceMesh& mesh) {
  const auto& small = ModelNames();
  const bool is_small = std::find(small.begin(), small.end(), task.plan.model) != small.end();
  return is_small ? MakeParallelModel(task.plan.model, task.model_options, mesh.Along("tensor"))
                  : MakeSequence(task.plan.model, task.model_options);
}

NamedList ListOf(const torch::OrderedDict<std::string, at::Tensor>& tensors) {
  NamedList list;
  for (const auto& item : tensors) list.emplace_back(item.key(), item.value());
  return list;
}

}  // namespace

Figures TrainOnMesh(const Task& task, DeviceMesh& mesh) {
  const Plan& plan = task.plan;
  const int replicas = mesh.Size("data");
  const int replica = mesh.Coordinate("data");
  const std::shared_ptr<Communicator> data_ranks = mesh.Along("data");
  const auto model = std::make_shared<SequenceClassifier>(SequenceOn(task, mesh));
  const NamedList parameters = ListOf(model->named_parameters());
  const NamedList buffers = ListOf(model->named_buffers());
  cifar::Loader loader = task.MakeLoader();
  const auto optimizer = MakeOptimizer(plan.MakeRecipe(), model->parameters());
  if (!plan.resume.empty()) Restore(plan.resume, task.restored, parameters, buffers, optimizer.get());
  const Trainable trainable{model->parameters(), [&](const at::Tensor& images, const at::Tensor& labels) {
                              return at::cross_entropy_loss(model->forward(images), labels);
                            }};

  Figures figures;
  figures.losses = task.record.losses;
  const auto start = std::chrono::steady_clock::now();
  std::unique_ptr<Progress> progress;
  if (mesh.world().rank() == 0) progress = std::make_unique<Progress>("training on the mesh", plan.steps);
  model->train();
  for (int64_t done = 0; done < plan.steps; ++done) {
    const int64_t step = task.first_step() + done;
    const int64_t whole = static_cast<int64_t>(loader.Samples(step).size());
    const Batch mine = task.BatchOf(loader, step, replica, replicas);
    model->Prepare({step, replica, replicas, SplitRange(whole, replicas, replica), whole});
    optimizer->zero_grad();
    double loss = 0;
    if (replicas == 1) {
      const at::Tensor mean_loss = trainable.mean_loss(mine.images, mine.labels);
      mean_loss.backward();
      loss = mean_loss.item().toDouble();
    } else {
      const at::Tensor share = at::scalar_tensor(
          DataParallelStep(*data_ranks, trainable, mine.images, mine.labels, whole, /*micro_batches=*/1, kBucketBytes),
          at::kDouble);
      data_ranks->AllReduce(share);
      loss = share.item().toDouble();
    }
    optimizer->step();
    figures.losses.push_back(loss);
    if (progress) progress->Update(done + 1, fmt::format("loss {:.3f}", loss));
  }
  progress.reset();
  figures.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  figures.accuracy = task.TestAccuracy(*model);
  if (!plan.save.empty()) {
    SaveCheckpoint(task, mesh, figures.losses, StateOf(parameters, buffers, optimizer.get()));
  }
  return figures;
}

}  // namespace shardlab::train
