#include "checkpoint.hpp"

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>
#include <torch/torch.h>

#include "runner.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/layers/optimizer_state.hpp"
#include "shardlab/models/sequences.hpp"
#include "shardlab/report/files.hpp"
#include "shardlab/tensor_parallel/shard_box.hpp"

namespace shardlab::train {
namespace {

std::string PartPath(const std::string& folder, const RunRecord& record, int part) {
  return fmt::format("{}/step{}.part{}of{}.pt", folder, record.steps, part, record.parts);
}

// Calls `use` with every parameter that is the optimizer's: its name, itself, and its key in the optimizer's state.
template <typename Use>
void ForEachParameter(const Held& held, Use use) {
  if (held.optimizer == nullptr) return;
  for (const auto& [name, tensor] : held.module->NamedParameters()) {
    for (const auto& group : held.optimizer->param_groups()) {
      for (const at::Tensor& parameter : group.params()) {
        if (tensor.is_same(parameter)) use(name, tensor, StateKeyOf(parameter));
      }
    }
  }
}

}  // namespace

ShardBoxes::ShardBoxes(const Task& task, DeviceMesh& mesh) : tensor_(mesh.Along("tensor")) {
  ModelOptions shapes = task.model_options;
  shapes.device = at::kMeta;
  for (const LayerSpec& spec : MakeSequence(task.request.model, shapes)) {
    const auto layer = spec.make();
    for (const auto& item : layer->named_parameters()) {
      full_[NameInModel(spec, item.key())] = item.value().sizes().vec();
    }
    for (const auto& item : layer->named_buffers()) full_[NameInModel(spec, item.key())] = item.value().sizes().vec();
  }
}

Box ShardBoxes::Of(const std::string& name, const at::Tensor& part) const {
  const auto full = full_.find(name);
  if (full == full_.end()) throw ContractError(fmt::format("the model has no parameter or buffer '{}'", name));
  try {
    return ShardBox(full->second, part.sizes(), tensor_->size(), tensor_->rank());
  } catch (const ContractError& error) {
    throw ContractError(fmt::format("'{}': {}", name, error.what()));
  }
}

bool ShardBoxes::Writes(const std::string& name, const Box& box) const {
  return !box.empty() && (tensor_->rank() == 0 || box != WholeBox(full_.at(name)));
}

std::vector<double> ShardBoxes::Counts(const StageModule& module) const {
  std::vector<double> held, full;
  for (const auto& [name, parameter] : module.NamedParameters()) {
    if (!parameter.requires_grad()) continue;
    held.push_back(static_cast<double>(parameter.numel()));
    full.push_back(static_cast<double>(WholeBox(full_.at(name)).volume()));
  }
  if (held.empty()) return {};
  const at::Tensor all = at::tensor(held, at::kDouble);
  tensor_->AllReduce(all);
  const at::Tensor counts = at::tensor(full, at::kDouble) / all;
  return {counts.data_ptr<double>(), counts.data_ptr<double>() + counts.numel()};
}

void AddPieces(const Held& held, const ShardBoxes& boxes, Pieces* pieces) {
  const auto add = [&](const std::string& kind, const std::string& name, const at::Tensor& tensor) {
    const Box box = boxes.Of(name, tensor);
    if (boxes.Writes(name, box)) pieces->push_back({kind + name, box, tensor.detach()});
  };
  for (const auto& [name, tensor] : held.module->NamedParameters()) add("parameters/", name, tensor);
  for (const auto& [name, tensor] : held.module->NamedBuffers()) add("buffers/", name, tensor);
  ForEachParameter(held, [&](const std::string& name, const at::Tensor& parameter, const auto& key) {
    const auto found = held.optimizer->state().find(key);
    const Box box = boxes.Of(name, parameter);
    if (found == held.optimizer->state().end() || !boxes.Writes(name, box)) return;  // or before the first step
    const auto state = [&](const char* what, const Box& of, const at::Tensor& values) {
      pieces->push_back({"optimizer/" + name + "/" + what, of, values});
    };
    if (const auto* sgd = dynamic_cast<torch::optim::SGDParamState*>(found->second.get())) {
      if (sgd->momentum_buffer().defined()) state("momentum_buffer", box, sgd->momentum_buffer());
    } else if (const auto* adam = dynamic_cast<torch::optim::AdamParamState*>(found->second.get())) {
      state("step", {}, at::scalar_tensor(adam->step(), at::kLong));
      state("exp_avg", box, adam->exp_avg());
      state("exp_avg_sq", box, adam->exp_avg_sq());
    }
  });
}

void WritePart(const std::string& folder, const RunRecord& record, int part, const Pieces& pieces) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw EnvironmentError(fmt::format("--save {}: the folder cannot be made: {}", folder, error.message()));
  c10::Dict<std::string, at::Tensor> tensors;
  // A view would be written with all that it is a view of.
  for (const Piece& piece : pieces) tensors.insert(piece.name + " " + ToString(piece.box), piece.values.clone());
  const std::vector<char> bytes = torch::pickle_save(tensors);
  WriteFileSafely(PartPath(folder, record, part), std::string(bytes.begin(), bytes.end()));
}

SavedTensors::SavedTensors(std::string folder, const RunRecord& record) : folder_(std::move(folder)) {
  for (int part = 0; part < record.parts; ++part) {
    const std::string path = PartPath(folder_, record, part);
    if (!std::filesystem::exists(path)) {
      throw UsageError(fmt::format("--resume {}: {} is missing: the checkpoint has {} part{}", folder_, path,
                                   record.parts, record.parts == 1 ? "" : "s"));
    }
    try {
      const std::string bytes = ReadFile(path);
      const auto dictionary = torch::pickle_load({bytes.begin(), bytes.end()}).toGenericDict();
      for (const auto& entry : dictionary) {
        const std::string& key = entry.key().toStringRef();
        const size_t space = key.find(' ');
        const Box box = ParseBox(key.substr(space + 1));
        const at::Tensor values = entry.value().toTensor();
        if (values.sizes() != at::IntArrayRef(Sizes(box))) throw ContractError("a box of another shape");
        pieces_[key.substr(0, space)].emplace_back(box, values);
      }
    } catch (const std::exception&) {
      throw UsageError(fmt::format("--resume {}: {} is damaged: train anew with --save", folder_, path));
    }
  }
}

void SavedTensors::CopyInto(const std::string& name, const Box& box, at::Tensor target) const {
  const auto found = pieces_.find(name);
  if (found == pieces_.end()) {
    throw UsageError(fmt::format("--resume {}: the checkpoint has no {}: it is of another model", folder_, name));
  }
  Distribution saved;
  for (const auto& [of, values] : found->second) {
    saved.push_back(of);
    if (values.scalar_type() == target.scalar_type()) continue;
    throw UsageError(fmt::format("--resume {}: the checkpoint's {} is {}, and the model's is {}", folder_, name,
                                 at::toString(values.scalar_type()), at::toString(target.scalar_type())));
  }
  try {
    for (const Move& move : Moves(saved, {box})) {
      const auto& [of, values] = found->second[static_cast<size_t>(move.from)];
      ViewOfBox(target, move.box, box).copy_(ViewOfBox(values, move.box, of));
    }
  } catch (const ContractError& error) {
    throw UsageError(
        fmt::format("--resume {}: the checkpoint's {} does not cover the model's: {}", folder_, name, error.what()));
  }
}

void SavedTensors::Restore(const Held& held, const ShardBoxes& boxes) const {
  const torch::NoGradGuard no_grad;
  for (const auto& [name, tensor] : held.module->NamedParameters()) {
    CopyInto("parameters/" + name, boxes.Of(name, tensor), tensor);
  }
  for (const auto& [name, tensor] : held.module->NamedBuffers()) {
    CopyInto("buffers/" + name, boxes.Of(name, tensor), tensor);
  }
  ForEachParameter(held, [&](const std::string& name, const at::Tensor& parameter, const auto& key) {
    const std::string prefix = "optimizer/" + name + "/";
    const auto restored = [&](const char* what) {
      at::Tensor values = at::zeros_like(parameter, at::MemoryFormat::Contiguous);
      CopyInto(prefix + what, boxes.Of(name, parameter), values);
      return values;
    };
    if (Has(prefix + "momentum_buffer")) {
      auto sgd = std::make_unique<torch::optim::SGDParamState>();
      sgd->momentum_buffer(restored("momentum_buffer"));
      held.optimizer->state()[key] = std::move(sgd);
    } else if (Has(prefix + "step")) {
      const at::Tensor step = at::zeros({}, at::kLong);
      CopyInto(prefix + "step", {}, step);
      auto adam = std::make_unique<torch::optim::AdamParamState>();
      adam->step(step.item<int64_t>());
      adam->exp_avg(restored("exp_avg"));
      adam->exp_avg_sq(restored("exp_avg_sq"));
      held.optimizer->state()[key] = std::move(adam);
    }
  });
}

}  // namespace shardlab::train
