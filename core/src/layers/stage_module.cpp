#include "shardlab/layers/stage_module.hpp"

#include <algorithm>
#include <map>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/comm/operation.hpp"

namespace shardlab {

StageModule::StageModule(const LayerSequence& model, int begin, int end, LossShare loss) {
  const int layers = static_cast<int>(model.size());
  if (begin < 0 || begin >= end || end > layers) {
    throw ContractError(fmt::format("layers {} to {} are no stage of a model of {} layers", begin, end - 1, layers));
  }
  if (end == layers) loss_ = std::move(loss);
  std::vector<std::string> open;  // stashed here, not popped here so far
  for (int i = begin; i < end; ++i) {
    const LayerSpec& spec = model[static_cast<size_t>(i)];
    for (const std::string& name : spec.pops) {
      const auto mine = std::find(open.begin(), open.end(), name);
      if (mine == open.end()) {
        skips_in_.push_back(name);
      } else {
        open.erase(mine);
      }
    }
    open.insert(open.end(), spec.stashes.begin(), spec.stashes.end());
    specs_.push_back(spec);
    layers_.push_back(register_module(std::to_string(i), spec.make()));
  }
  skips_out_ = std::move(open);
}

Tensors StageModule::Forward(const Tensors& inputs, const MicroBatch& at, StageTrace* trace) {
  const bool computes_loss = loss_ && is_training();
  const size_t extra = skips_in_.size() + (computes_loss ? 1 : 0);
  if (inputs.size() <= extra) {
    throw ContractError(fmt::format(
        "the stage of '{}' needs a tensor from the stage before{}{}, and was given {} tensor(s){}", specs_.front().name,
        skips_in_.empty() ? "" : fmt::format(", {} skip(s)", skips_in_.size()), computes_loss ? ", the targets" : "",
        inputs.size(),
        computes_loss && !at.training ? ": in an evaluation call eval() first, then it needs no targets" : ""));
  }
  if (loss_ && !is_training() && at.training) {
    throw ContractError(
        fmt::format("the stage of '{}' was given a micro-batch to train on in evaluation mode: call train() after an "
                    "evaluation",
                    specs_.front().name));
  }
  const auto first_skip = inputs.begin() + static_cast<std::ptrdiff_t>(inputs.size() - extra);
  Tensors x(inputs.begin(), first_skip);
  std::map<std::string, at::Tensor> skips;
  for (size_t i = 0; i < skips_in_.size(); ++i) skips[skips_in_[i]] = first_skip[static_cast<std::ptrdiff_t>(i)];

  for (size_t i = 0; i < layers_.size(); ++i) {
    const LayerSpec& spec = specs_[i];
    for (const std::string& name : spec.pops) {
      x.push_back(skips.at(name));
      skips.erase(name);  // this was its last use
    }
    x = layers_[i]->Forward(x, at);
    RequireBoundary(spec.name, x, spec.stashes.size());
    if (trace != nullptr) {
      for (at::Tensor& tensor : x) {
        if (tensor.requires_grad()) tensor = tensor.view_as(tensor);
      }
      trace->returned.push_back(x);
    }
    const size_t first = x.size() - spec.stashes.size();
    for (size_t k = 0; k < spec.stashes.size(); ++k) skips[spec.stashes[k]] = x[first + k];
    x.resize(first);
  }

  if (computes_loss) {
    x = {loss_(x, inputs.back(), at)};
    if (!x[0].defined() || x[0].numel() != 1) {
      throw ContractError(fmt::format(
          "the loss function returned {}: it returns one number, the mean over the samples that it was given",
          Describe(x[0])));
    }
    if (trace != nullptr) trace->returned.push_back(x);
  }
  for (const std::string& name : skips_out_) x.push_back(skips.at(name));
  return x;
}

std::vector<Tensors> StageModule::LayerParameters() const {
  std::vector<Tensors> all;
  for (const auto& layer : layers_) all.push_back(layer->parameters());
  return all;
}

std::vector<std::pair<std::string, at::Tensor>> StageModule::NamedParameters() const {
  std::vector<std::pair<std::string, at::Tensor>> all;
  for (size_t i = 0; i < layers_.size(); ++i) {
    for (const auto& item : layers_[i]->named_parameters()) {
      all.emplace_back(NameInModel(specs_[i], item.key()), item.value());
    }
  }
  return all;
}

std::vector<std::pair<std::string, at::Tensor>> StageModule::NamedBuffers() const {
  std::vector<std::pair<std::string, at::Tensor>> all;
  for (size_t i = 0; i < layers_.size(); ++i) {
    for (const auto& item : layers_[i]->named_buffers()) {
      all.emplace_back(NameInModel(specs_[i], item.key()), item.value());
    }
  }
  return all;
}

}  // namespace shardlab
