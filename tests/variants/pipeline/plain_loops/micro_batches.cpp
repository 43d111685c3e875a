#include "shardlab/pipeline/micro_batches.hpp"

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

// Deals the samples out one after the other, like cards: piece i is dealt sample i, i + m, ...; what counts is how many
// each has at the end.
std::vector<MicroBatch> MicroBatches(int64_t samples, int microbatches, int64_t step) {
  if (samples < 1) throw ContractError("there is no sample");
  if (microbatches < 1) throw ContractError("there is no micro-batch");
  std::vector<MicroBatch> pieces(static_cast<size_t>(samples < microbatches ? samples : microbatches));
  std::vector<int64_t> dealt(pieces.size(), 0);
  for (int64_t card = 0; card < samples; ++card) ++dealt[static_cast<size_t>(card) % pieces.size()];
  int64_t next = 0;
  for (size_t i = 0; i < pieces.size(); ++i) {
    pieces[i].index = static_cast<int>(i);
    pieces[i].count = static_cast<int>(pieces.size());
    pieces[i].batch = samples;
    pieces[i].step = step;
    pieces[i].samples.begin = next;
    next += dealt[i];
    pieces[i].samples.end = next;
  }
  return pieces;
}

Tensors SamplesOf(const Tensors& batch, const MicroBatch& at) {
  Tensors piece;
  for (const at::Tensor& whole : batch) {
    if (whole.dim() == 0 || whole.sizes()[0] != at.batch) throw ContractError("a tensor has another number of samples");
    piece.push_back(whole.slice(0, at.samples.begin, at.samples.end));
  }
  return piece;
}

LossShare ShareOf(LossFunction mean_loss) {
  return [mean_loss](const Tensors& outputs, const at::Tensor& targets, const MicroBatch& at) {
    const at::Tensor sum = mean_loss(outputs, targets) * static_cast<double>(at.samples.end - at.samples.begin);
    return sum / static_cast<double>(at.update_samples == 0 ? at.batch : at.update_samples);
  };
}

}  // namespace shardlab
