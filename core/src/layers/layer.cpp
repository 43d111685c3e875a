#include "shardlab/layers/layer.hpp"

#include <fmt/format.h>

#include "shardlab/autograd/dropout.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/comm/operation.hpp"

namespace shardlab {

Layer::~Layer() = default;

std::string NameInModel(const LayerSpec& layer, const std::string& tensor) {
  return layer.joins.empty() ? layer.name + "." + tensor : tensor;
}

void RequireBoundary(const std::string& layer, const Tensors& returned, size_t stashes) {
  if (returned.size() <= stashes) {
    throw ContractError(fmt::format("layer '{}' returned {} tensor(s); it needs one for the next layer and {} skip(s)",
                                    layer, returned.size(), stashes));
  }
  const size_t next = returned.size() - stashes;
  if (next > kMostBoundaryTensors) {
    throw ContractError(
        fmt::format("layer '{}' returned {} tensors for the next layer, and between two stages travel at most {}: join "
                    "some of them with at::cat or at::stack",
                    layer, next, kMostBoundaryTensors));
  }
  bool has_elements = false;
  for (size_t i = 0; i < returned.size(); ++i) {
    const at::Tensor& tensor = returned[i];
    const auto which = [&] {
      return returned.size() == 1 ? "" : fmt::format(" (number {} of {})", i, returned.size());
    };
    if (!tensor.defined()) {
      throw ContractError(fmt::format(
          "layer '{}' returned an undefined tensor{}: leave it out, or return at::zeros of its shape", layer, which()));
    }
    if (tensor.layout() != at::kStrided) {
      throw ContractError(
          fmt::format("layer '{}' returned a tensor{} that is not dense: return its to_dense()", layer, which()));
    }
    has_elements |= i < next && tensor.numel() > 0;
  }
  if (!has_elements) {
    throw ContractError(fmt::format("layer '{}' returned no element at all for the next layer, only tensors like {}",
                                    layer, Describe(returned[0])));
  }
}

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
