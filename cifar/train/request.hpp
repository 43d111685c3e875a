#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "shardlab/comm/device_mesh.hpp"
#include "shardlab/layers/recipe.hpp"
#include "shardlab/pipeline/positions.hpp"
#include "shardlab/plan/schedule.hpp"
#include "shardlab/plan/tiling.hpp"

/// \file
/// What `lab train` was asked for.

namespace shardlab::train {

/// The command line, read and checked.
struct TrainRequest {
  std::string data = "auto";    ///< cifar10, cifar100, synthetic; "auto" until it is read
  std::string folder = "data";  ///< where CIFAR's files are
  std::string model = "mlp";    ///< a name that MakeSequence knows
  std::string mesh = "data=1";  ///< as it was written
  std::vector<MeshAxis> axes;   ///< the mesh: data, pipe, spatial, tensor (of size 1 where they were not named)
  Grid grid;                    ///< tiles of an image
  int fused_halo = 0;           ///< layers on tiles that share one exchange; 0: each operation exchanges what it reads
  int spatial_stages = 0;       ///< the first stages of a pipeline, whose images are cut into tiles; 0: none
  std::string optimizer = "sgd";  ///< sgd, adam
  double learning_rate = 0.02;
  double momentum = 0.9;  ///< of sgd
  double clip = 0;        ///< largest norm of all gradients together; 0: they are not clipped
  int64_t image = 32;     ///< side to which images are enlarged before the model sees them
  int64_t batch = 64;     ///< images a step, on all ranks together
  int64_t steps = 200;    ///< updates to make; beyond those of a checkpoint
  uint64_t seed = 1;
  bool augment = false;
  bool compare = false;  ///< train one process too
  std::string dtype;     ///< float32, float64
  std::string chart;     ///< the learning curve's file, SVG
  double limit_s = 120;  ///< for one operation between ranks
  std::string save;      ///< folder for a checkpoint at the end, or empty
  std::string resume;    ///< folder of the checkpoint to go on from, or empty

  /// \name Of a pipeline
  ///@{
  bool pipeline = false;            ///< the mesh names the axis pipe
  std::string schedule = "1f1b";    ///< one of ScheduleNames(), or a file
  std::optional<Schedule> table;    ///< what is in the file, with steps
  int micro_batches = 8;            ///< an update
  int chunks = 2;                   ///< stages a rank; of interleaved
  std::string recompute = "never";  ///< always, except_last, never
  std::string balance;              ///< time, memory, even, or layers of each stage as in 3,3,4; empty: time
  std::string trace;                ///< file for plan and run, in Chrome's format
  ///@}

  /// How many ranks there are: the product of the axes, but stages behind the tiles have one rank each.
  int ranks() const { return MeshSize(RankAxes()); }
  /// The ranks of one pipeline, by its positions; without a pipeline there is one position.
  Positions AllPositions() const;
  /// The axes along which the ranks lie: in a pipeline those of the tiles lie along pipe.
  std::vector<MeshAxis> RankAxes() const;
  Recipe MakeRecipe() const;
  int Along(const std::string& axis) const;
};

/// Reads and checks the command line, and the record of the checkpoint to resume: before any process starts.
/// \returns false when there is nothing to do (--help was answered).
/// \throws UsageError for anything that does not fit, saying what would.
bool ReadRequest(int argc, char** argv, TrainRequest* request);

}  // namespace shardlab::train
