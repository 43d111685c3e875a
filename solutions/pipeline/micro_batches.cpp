#include "shardlab/pipeline/micro_batches.hpp"

#include <algorithm>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"

namespace shardlab {

std::vector<MicroBatch> MicroBatches(int64_t samples, int microbatches, int64_t step) {
  if (samples < 1 || microbatches < 1) {
    throw ContractError(
        fmt::format("a mini-batch has 1 sample and 1 micro-batch or more, not {} and {}", samples, microbatches));
  }
  MicroBatch at;
  at.step = step;
  at.batch = samples;
  at.count = static_cast<int>(std::min<int64_t>(microbatches, samples));  // no piece is empty
  std::vector<MicroBatch> pieces;
  for (at.index = 0; at.index < at.count; ++at.index) {
    at.samples = SplitRange(samples, at.count, at.index);
    pieces.push_back(at);
  }
  return pieces;
}

Tensors SamplesOf(const Tensors& batch, const MicroBatch& at) {
  Tensors piece;
  for (const at::Tensor& tensor : batch) {
    if (tensor.dim() < 1 || tensor.size(0) != at.batch) {
      throw ContractError(fmt::format("a mini-batch of {} samples has a tensor with {}", at.batch,
                                      tensor.dim() < 1 ? 0 : tensor.size(0)));
    }
    piece.push_back(tensor.narrow(0, at.samples.begin, at.samples.size()));
  }
  return piece;
}

LossShare ShareOf(LossFunction mean_loss) {
  return [mean_loss](const Tensors& outputs, const at::Tensor& targets, const MicroBatch& at) {
    const int64_t all = at.update_samples > 0 ? at.update_samples : at.batch;
    const double share = static_cast<double>(at.samples.size()) / static_cast<double>(all);
    return mean_loss(outputs, targets) * share;
  };
}

}  // namespace shardlab
