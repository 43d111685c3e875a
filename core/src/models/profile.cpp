#include "shardlab/models/profile.hpp"

#include <algorithm>
#include <chrono>
#include <map>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/measure/memory.hpp"
#include "shardlab/models/sequences.hpp"

namespace shardlab {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

int64_t Bytes(const Tensors& tensors) {
  int64_t bytes = 0;
  for (const at::Tensor& tensor : tensors) bytes += static_cast<int64_t>(tensor.nbytes());
  return bytes;
}

// The inputs as a stage gets them: leaves of a graph of their own. Images need no gradient, all others do.
Tensors Leaves(const Tensors& inputs, bool first) {
  Tensors leaves;
  for (const at::Tensor& input : inputs) {
    leaves.push_back(input.detach());
    if (!first && input.is_floating_point()) leaves.back().requires_grad_();
  }
  return leaves;
}

// Measures one layer. \returns what it returned the last time.
Tensors Measure(Layer& layer, size_t stashes, const Tensors& inputs, const MicroBatch& at, bool first, int repeats,
                LayerProfile* profile) {
  std::vector<double> forwards, backwards;
  Tensors outputs;
  for (int run = 0; run <= repeats; ++run) {
    const Tensors leaves = Leaves(inputs, first);
    outputs.clear();
    const int64_t before = LiveBytes();
    auto start = Clock::now();
    outputs = layer.Forward(leaves, at);
    const double forward_s = SecondsSince(start);
    profile->activation_bytes = LiveBytes() - before;
    RequireBoundary(profile->name, outputs, stashes);

    Tensors roots, gradients;
    for (const at::Tensor& output : outputs) {
      if (!output.requires_grad() || output.grad_fn() == nullptr) continue;  // an input that is handed on
      roots.push_back(output);
      gradients.push_back(at::ones_like(output));
    }
    start = Clock::now();
    if (!roots.empty()) torch::autograd::backward(roots, gradients);
    const double backward_s = SecondsSince(start);
    if (run == 0) continue;  // the first one also fills caches
    forwards.push_back(forward_s);
    backwards.push_back(backward_s);
  }
  profile->forward_s = Median(std::move(forwards));
  profile->backward_s = Median(std::move(backwards));
  for (at::Tensor& output : outputs) output = output.detach();
  return outputs;
}

}  // namespace

std::vector<LayerProfile> ProfileLayers(const LayerSequence& sequence, const Tensors& inputs,
                                        const ProfileOptions& options) {
  RequireRunnable(sequence);
  if (options.repeats < 1)
    throw ContractError(fmt::format("a layer is measured at least once, not {} times", options.repeats));
  if (inputs.empty() || inputs[0].dim() < 1) throw ContractError("a model is measured on a micro-batch of inputs");
  CountMemory();
  MicroBatch at;
  at.batch = inputs[0].size(0);
  at.samples = {0, at.batch};

  std::vector<LayerProfile> profiles;
  Tensors x = inputs;
  std::map<std::string, at::Tensor> skips;
  for (const LayerSpec& spec : sequence) {
    const std::shared_ptr<Layer> layer = spec.make();
    layer->train();
    for (const std::string& name : spec.pops) {
      x.push_back(skips.at(name));
      skips.erase(name);
    }
    LayerProfile profile;
    profile.name = spec.name;
    for (const at::Tensor& parameter : layer->parameters()) {
      profile.parameters += parameter.numel();
      profile.parameter_bytes += static_cast<int64_t>(parameter.nbytes());
    }
    x = Measure(*layer, spec.stashes.size(), x, at, profiles.empty(), options.repeats, &profile);
    const Tensors stashed(x.end() - static_cast<std::ptrdiff_t>(spec.stashes.size()), x.end());
    x.resize(x.size() - stashed.size());
    for (size_t k = 0; k < stashed.size(); ++k) skips[spec.stashes[k]] = stashed[k];
    profile.boundary_bytes = Bytes(x);
    profile.skip_bytes = Bytes(stashed);
    profiles.push_back(std::move(profile));
  }
  return profiles;
}

std::vector<double> SecondsOf(const std::vector<LayerProfile>& profile, bool recomputes) {
  std::vector<double> seconds;
  for (const LayerProfile& layer : profile) {
    seconds.push_back((recomputes ? 2 : 1) * layer.forward_s + layer.backward_s);
  }
  return seconds;
}

std::vector<double> BytesOf(const std::vector<LayerProfile>& profile, int copies, int live) {
  std::vector<double> bytes;
  for (const LayerProfile& layer : profile) {
    bytes.push_back(static_cast<double>(copies * layer.parameter_bytes + live * layer.activation_bytes));
  }
  return bytes;
}

}  // namespace shardlab
