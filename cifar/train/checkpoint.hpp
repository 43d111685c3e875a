#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "plan.hpp"

namespace torch::optim {
class Optimizer;
}

/// \file
/// What a run writes so that it can go on later, bit for bit.
///
///     FOLDER/run.json                  what was trained, how far, and the loss of every step so far
///     FOLDER/step200.part0of2.pt       the tensors of one part of the model, by name; torch.load of Python reads them
///     FOLDER/step200.part1of2.pt
///
/// A part is what one rank of the first replica holds: its stages along `pipe`, its shards along `tensor`. Parts are
/// written first, then run.json, which names them, and then those of the older checkpoint are removed: at every moment
/// the folder holds a whole checkpoint. Replicas are equal and the order of the images follows from the seed and the
/// step, so a run may be resumed with other numbers of replicas and stages; shards need the same number.

namespace shardlab::train {

/// Tensors by name: "parameters/fc1.weight", "buffers/bn1.running_mean", "optimizer/fc1.weight/momentum_buffer".
using NamedTensors = std::map<std::string, at::Tensor>;

/// A module's tensors with the names that they have in the model.
using NamedList = std::vector<std::pair<std::string, at::Tensor>>;

/// run.json.
struct RunRecord {
  std::string model, data, optimizer, dtype;
  int64_t image = 0;
  int64_t batch = 0;
  uint64_t seed = 0;
  bool augment = false;
  double learning_rate = 0;
  int tensor = 1;              ///< shards of each layer
  int parts = 1;               ///< files
  int64_t steps = 0;           ///< done
  std::vector<double> losses;  ///< of these steps
};

/// The record of a run as planned, before its first step.
RunRecord RecordOf(const Plan& plan);

/// Reads FOLDER/run.json. No LibTorch.
/// \throws UsageError in one line when there is no checkpoint, or the file is damaged.
RunRecord ReadRecord(const std::string& folder);

/// \throws UsageError in one line unless a run with this plan can go on from the checkpoint: it names the option that
/// differs and what the checkpoint has.
void RequireFits(const std::string& folder, const RunRecord& saved, const Plan& plan);

/// What a rank adds to a checkpoint: copies of nothing, the tensors themselves.
NamedTensors StateOf(const NamedList& parameters, const NamedList& buffers, torch::optim::Optimizer* optimizer);

/// Copies the saved values into parameters and buffers, and gives the optimizer the saved state of its parameters.
/// \throws UsageError that names the tensor when one is missing or has another shape or type.
void Restore(const std::string& folder, const NamedTensors& saved, const NamedList& parameters,
             const NamedList& buffers, torch::optim::Optimizer* optimizer);

/// Writes one part. \throws EnvironmentError that names the file and the cause.
void WritePart(const std::string& folder, const RunRecord& record, int part, const NamedTensors& state);

/// Writes run.json, when all parts are written, and removes the parts of other checkpoints.
/// \throws EnvironmentError that names the file and the cause.
void WriteRecord(const std::string& folder, const RunRecord& record);

/// Reads one part, or all of them when `part` is negative. \throws UsageError when a file is missing or damaged.
NamedTensors ReadParts(const std::string& folder, const RunRecord& record, int part);

}  // namespace shardlab::train
