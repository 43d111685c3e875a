#include "shardlab/pipeline/layer.hpp"

#include <fmt/format.h>

#include "shardlab/autograd/dropout.hpp"
#include "shardlab/base/errors.hpp"

namespace shardlab {

Layer::~Layer() = default;

at::Tensor MicroBatchDropout(const at::Tensor& x, double p, uint64_t seed, uint64_t layer, const MicroBatch& at) {
  if (x.dim() < 1 || x.size(0) != at.samples.size()) {
    throw ContractError(fmt::format("dropout on {} samples of a micro-batch that has {}", x.dim() < 1 ? 0 : x.size(0),
                                    at.samples.size()));
  }
  DropoutSlice slice;
  slice.full_shape = x.sizes().vec();
  slice.full_shape[0] = at.first + at.batch;  // or more: which samples follow makes no difference
  slice.offset.assign(slice.full_shape.size(), 0);
  slice.offset[0] = at.first + at.samples.begin;
  return Dropout(x, p, {seed, static_cast<uint64_t>(at.step), layer}, slice);
}

}  // namespace shardlab
