#include "task.hpp"

#include <algorithm>

#include <torch/torch.h>

#include "shardlab/models/sequences.hpp"

namespace shardlab::train {
namespace {

constexpr int64_t kTestedAtATime = 250;

}  // namespace

cifar::Loader Task::MakeLoader() const {
  cifar::LoaderOptions options;
  options.batch = std::min<int64_t>(request.batch, train->size());
  options.seed = request.seed;
  options.augment = request.augment;
  options.dtype = model_options.dtype;
  return cifar::Loader(train, normalization, options);
}

at::Tensor Task::Enlarged(const at::Tensor& images) const {
  if (request.image == images.size(2)) return images;
  return at::upsample_bilinear2d(images, {request.image, request.image}, /*align_corners=*/false);
}

Batch Task::BatchOf(cifar::Loader& loader, int64_t step, int replica, int replicas) const {
  Batch batch = loader.Get(step, replica, replicas);
  if (batch.images.size(0) > 0) batch.images = Enlarged(batch.images);
  return batch;
}

double Task::TestAccuracy(ImageClassifier& model) const {
  const int64_t n = test.images.size(0);
  double right = 0;
  for (int64_t begin = 0; begin < n; begin += kTestedAtATime) {  // enlarged, all of them would take too much memory
    const int64_t end = std::min(begin + kTestedAtATime, n);
    const Batch part{Enlarged(test.images.slice(0, begin, end)), test.labels.slice(0, begin, end)};
    right += Accuracy(model, part) * static_cast<double>(end - begin);
  }
  return right / static_cast<double>(n);
}

bool KeepsStatistics(const Task& task) {
  ModelOptions shapes = task.model_options;
  shapes.device = at::kMeta;
  const LayerSequence model = MakeSequence(task.request.model, shapes);
  return std::any_of(model.begin(), model.end(), [](const LayerSpec& spec) { return !spec.make()->buffers().empty(); });
}

}  // namespace shardlab::train
