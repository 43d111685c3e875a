#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "record.hpp"
#include "shardlab/comm/device_mesh.hpp"
#include "shardlab/plan/box.hpp"

/// \file
/// What a run writes so that it can go on later, bit for bit.
///
///     FOLDER/run.json                  what was trained, how far, and the loss of every step so far
///     FOLDER/step200.part0of2.pt       pieces of tensors by name and box; torch.load of Python reads them
///     FOLDER/step200.part1of2.pt
///
/// A part is what one rank of the first replica holds: its stages along `pipe`, its shards along `tensor`. A piece says
/// which box of its tensor it is, and who reads puts the boxes together that make its own: any mesh reads what any mesh
/// wrote. Parts are written first, then run.json, which names them, and then those of the older checkpoint are removed:
/// at every moment the folder holds a whole checkpoint. The order of the images follows from the seed and the step.

namespace shardlab {
class StageModule;
}

namespace shardlab::train {

struct Held;
struct Task;

/// Some elements of a tensor of the model or of the optimizer's state.
struct Piece {
  std::string name;  ///< "parameters/fc1.weight", "buffers/bn1.running_mean", "optimizer/fc1.weight/momentum_buffer"
  Box box;           ///< which elements of the tensor
  at::Tensor values;
};

/// What a rank adds to a checkpoint.
using Pieces = std::vector<Piece>;

/// Which elements of the model's tensors this rank holds.
class ShardBoxes {
 public:
  ShardBoxes(const Task& task, DeviceMesh& mesh);

  /// What the square of each gradient counts in the norm of the whole model: 1/k for a parameter of which k ranks along
  /// tensor hold the same elements. Called on all ranks along tensor, for the same layers.
  std::vector<double> Counts(const StageModule& module) const;

  /// The box of a parameter or buffer of the model, of which this rank holds `part`.
  /// \throws ContractError when the model has none of that name, or `part` is no slice of it.
  Box Of(const std::string& name, const at::Tensor& part) const;
  /// Whether this rank writes a box: one of several that hold the same tensor does.
  bool Writes(const std::string& name, const Box& box) const;

 private:
  std::map<std::string, std::vector<int64_t>> full_;  // sizes
  std::shared_ptr<Communicator> tensor_;
};

/// Adds what this rank writes of its layers and of their optimizer's state: copies of nothing, the tensors themselves.
void AddPieces(const Held& held, const ShardBoxes& boxes, Pieces* pieces);

/// Writes one part. \throws EnvironmentError that names the file and the cause.
void WritePart(const std::string& folder, const RunRecord& record, int part, const Pieces& pieces);

/// The tensors of a checkpoint, from all its parts.
class SavedTensors {
 public:
  /// Reads them. \throws UsageError when a file is missing or damaged.
  SavedTensors(std::string folder, const RunRecord& record);

  /// Copies what is this rank's into its layers, and gives the optimizer the saved state of its parameters.
  /// \throws UsageError that names the tensor when one is missing or has another shape or type.
  void Restore(const Held& held, const ShardBoxes& boxes) const;

 private:
  void CopyInto(const std::string& name, const Box& box, at::Tensor target) const;
  bool Has(const std::string& name) const { return pieces_.count(name) > 0; }

  std::string folder_;
  std::map<std::string, std::vector<std::pair<Box, at::Tensor>>> pieces_;
};

}  // namespace shardlab::train
