#include "checkpoint.hpp"

#include <filesystem>

#include <fmt/format.h>
#include <torch/torch.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/layers/optimizer_state.hpp"
#include "shardlab/report/files.hpp"

namespace shardlab::train {
namespace {

std::string PartPath(const std::string& folder, const RunRecord& record, int part) {
  return fmt::format("{}/step{}.part{}of{}.pt", folder, record.steps, part, record.parts);
}

// Calls `use` with every parameter of the optimizer that is one of `parameters`: the prefix of its names in a
// checkpoint, and its key in the optimizer's state.
template <typename Use>
void ForEachParameter(torch::optim::Optimizer& optimizer, const NamedList& parameters, Use use) {
  for (auto& group : optimizer.param_groups()) {
    for (const at::Tensor& parameter : group.params()) {
      for (const auto& [name, tensor] : parameters) {
        if (tensor.is_same(parameter)) use("optimizer/" + name + "/", StateKeyOf(parameter));
      }
    }
  }
}

const at::Tensor* Find(const NamedTensors& saved, const std::string& name) {
  const auto found = saved.find(name);
  return found == saved.end() ? nullptr : &found->second;
}

void CopyInto(const std::string& folder, const NamedTensors& saved, const std::string& name, at::Tensor target) {
  const at::Tensor* source = Find(saved, name);
  if (source == nullptr) {
    throw UsageError(fmt::format("--resume {}: the checkpoint has no {}: it is of another model", folder, name));
  }
  if (source->sizes() != target.sizes() || source->scalar_type() != target.scalar_type()) {
    throw UsageError(fmt::format("--resume {}: the checkpoint's {} is {} of {} numbers, and the model's is {} of {}",
                                 folder, name, at::toString(source->scalar_type()), source->numel(),
                                 at::toString(target.scalar_type()), target.numel()));
  }
  target.copy_(*source);
}

}  // namespace

NamedTensors StateOf(const NamedList& parameters, const NamedList& buffers, torch::optim::Optimizer* optimizer) {
  NamedTensors state;
  for (const auto& [name, tensor] : parameters) state["parameters/" + name] = tensor.detach();
  for (const auto& [name, tensor] : buffers) state["buffers/" + name] = tensor.detach();
  if (optimizer == nullptr) return state;
  ForEachParameter(*optimizer, parameters, [&](const std::string& name, const auto& key) {
    const auto found = optimizer->state().find(key);
    if (found == optimizer->state().end()) return;  // before the first step
    if (const auto* sgd = dynamic_cast<torch::optim::SGDParamState*>(found->second.get())) {
      if (sgd->momentum_buffer().defined()) state[name + "momentum_buffer"] = sgd->momentum_buffer();
    } else if (const auto* adam = dynamic_cast<torch::optim::AdamParamState*>(found->second.get())) {
      state[name + "step"] = at::scalar_tensor(adam->step(), at::kLong);
      state[name + "exp_avg"] = adam->exp_avg();
      state[name + "exp_avg_sq"] = adam->exp_avg_sq();
    }
  });
  return state;
}

void Restore(const std::string& folder, const NamedTensors& saved, const NamedList& parameters,
             const NamedList& buffers, torch::optim::Optimizer* optimizer) {
  const torch::NoGradGuard no_grad;
  for (const auto& [name, tensor] : parameters) CopyInto(folder, saved, "parameters/" + name, tensor);
  for (const auto& [name, tensor] : buffers) CopyInto(folder, saved, "buffers/" + name, tensor);
  if (optimizer == nullptr) return;
  auto& states = optimizer->state();
  ForEachParameter(*optimizer, parameters, [&](const std::string& name, const auto& key) {
    if (const at::Tensor* buffer = Find(saved, name + "momentum_buffer")) {
      auto sgd = std::make_unique<torch::optim::SGDParamState>();
      sgd->momentum_buffer(buffer->clone());
      states[key] = std::move(sgd);
    } else if (const at::Tensor* step = Find(saved, name + "step")) {
      auto adam = std::make_unique<torch::optim::AdamParamState>();
      adam->step(step->item<int64_t>());
      adam->exp_avg(saved.at(name + "exp_avg").clone());
      adam->exp_avg_sq(saved.at(name + "exp_avg_sq").clone());
      states[key] = std::move(adam);
    }
  });
}

void WritePart(const std::string& folder, const RunRecord& record, int part, const NamedTensors& state) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw EnvironmentError(fmt::format("--save {}: the folder cannot be made: {}", folder, error.message()));
  c10::Dict<std::string, at::Tensor> tensors;
  // A view would be written with all that it is a view of.
  for (const auto& [name, tensor] : state) tensors.insert(name, tensor.clone());
  const std::vector<char> bytes = torch::pickle_save(tensors);
  WriteFileSafely(PartPath(folder, record, part), std::string(bytes.begin(), bytes.end()));
}

NamedTensors ReadParts(const std::string& folder, const RunRecord& record, int part) {
  NamedTensors tensors;
  for (int i = 0; i < record.parts; ++i) {
    if (part >= 0 && i != part) continue;
    const std::string path = PartPath(folder, record, i);
    if (!std::filesystem::exists(path)) {
      throw UsageError(fmt::format("--resume {}: {} is missing: the checkpoint has {} part{}", folder, path,
                                   record.parts, record.parts == 1 ? "" : "s"));
    }
    try {
      const std::string bytes = ReadFile(path);
      const auto dictionary = torch::pickle_load({bytes.begin(), bytes.end()}).toGenericDict();
      for (const auto& entry : dictionary) tensors[entry.key().toStringRef()] = entry.value().toTensor();
    } catch (const std::exception& error) {
      throw UsageError(fmt::format("--resume {}: {} is damaged: train anew with --save", folder, path));
    }
  }
  return tensors;
}

}  // namespace shardlab::train
