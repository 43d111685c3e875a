#include "shardlab/models/seeded.hpp"

#include <cmath>
#include <string>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/nn/module.h>

#include "shardlab/base/counter_random.hpp"
#include "shardlab/base/errors.hpp"

namespace shardlab {
namespace {

double BoundOfFanIn(at::IntArrayRef weight_shape) {
  int64_t fan_in = 1;
  for (size_t d = 1; d < weight_shape.size(); ++d) fan_in *= weight_shape[d];
  return fan_in > 0 ? 1.0 / std::sqrt(static_cast<double>(fan_in)) : 0.0;
}

// By hand over the children: Module::named_modules refuses a module that is not held by a shared_ptr.
void SeedTree(torch::nn::Module& module, uint64_t seed, const std::string& prefix) {
  const auto own = module.named_parameters(/*recurse=*/false);
  const at::Tensor* weight = own.find("weight");
  for (const auto& parameter : own) {
    const std::string name = prefix + parameter.key();
    if (weight == nullptr || (parameter.key() != "weight" && parameter.key() != "bias")) {
      throw ContractError(fmt::format("SeedParameters: {} is neither the weight nor the bias of a layer", name));
    }
    at::Tensor target = parameter.value();
    if (weight->dim() >= 2) {
      target.copy_(SeededTensor(target.sizes(), seed, name, BoundOfFanIn(weight->sizes())));
    } else {
      target.fill_(parameter.key() == "weight" ? 1.0 : 0.0);
    }
  }
  for (const auto& child : module.named_children()) SeedTree(*child.value(), seed, prefix + child.key() + ".");
}

}  // namespace

at::Tensor SeededTensor(at::IntArrayRef shape, uint64_t seed, std::string_view name, double bound,
                        at::ScalarType dtype) {
  for (const int64_t size : shape) {
    if (size < 0) throw ContractError(fmt::format("SeededTensor {}: size {} is negative", name, size));
  }
  if (!(bound >= 0)) throw ContractError(fmt::format("SeededTensor {}: bound {} is not 0 or more", name, bound));
  if (!at::isFloatingType(dtype)) {
    throw ContractError(fmt::format("SeededTensor {}: {} is no floating-point type", name, at::toString(dtype)));
  }
  at::Tensor values = at::empty(shape, at::TensorOptions().dtype(at::kDouble));
  const CounterRandom random{seed, HashName(name)};
  double* data = values.data_ptr<double>();
  for (int64_t i = 0; i < values.numel(); ++i)
    data[i] = bound * (2.0 * random.UniformAt(static_cast<uint64_t>(i)) - 1.0);
  return values.to(dtype);
}

SeededLayer SeededLayerWeights(at::IntArrayRef weight_shape, uint64_t seed, std::string_view name,
                               at::ScalarType dtype) {
  if (weight_shape.size() < 2) {
    throw ContractError(
        fmt::format("SeededLayerWeights {}: a weight has 2 dimensions or more, not {}", name, weight_shape.size()));
  }
  const double bound = BoundOfFanIn(weight_shape);
  return {SeededTensor(weight_shape, seed, fmt::format("{}.weight", name), bound, dtype),
          SeededTensor({weight_shape[0]}, seed, fmt::format("{}.bias", name), bound, dtype)};
}

void SeedParameters(torch::nn::Module& module, uint64_t seed) {
  const at::NoGradGuard no_grad;
  SeedTree(module, seed, "");
}

}  // namespace shardlab
