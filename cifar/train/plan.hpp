#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "shardlab/comm/device_mesh.hpp"

/// \file
/// What `lab train` was asked for.

namespace shardlab::train {

/// The command line, read and checked.
struct Plan {
  std::string data = "auto";      ///< auto, cifar10, cifar100, synthetic
  std::string folder = "data";    ///< where CIFAR's files are
  std::string model = "mlp";      ///< one of ModelNames()
  std::string mesh = "data=1";    ///< as it was written
  std::vector<MeshAxis> axes;     ///< the mesh, with a data and a tensor axis (of size 1 where none was named)
  std::string optimizer = "sgd";  ///< sgd, adam
  double learning_rate = 0.02;
  double momentum = 0.9;  ///< of sgd
  int64_t batch = 64;     ///< images a step, on all ranks together
  int64_t steps = 200;
  uint64_t seed = 1;
  bool augment = false;
  bool compare = false;  ///< train one process too
  std::string dtype;     ///< float32, float64
  std::string chart;     ///< the learning curve's file, SVG
  double limit_s = 120;  ///< for one operation between ranks

  int ranks() const { return MeshSize(axes); }
  int Along(const std::string& axis) const;
};

/// Reads and checks the command line. \returns false when there is nothing to do (--help was answered).
/// \throws UsageError for anything that does not fit, saying what would.
bool ReadPlan(int argc, char** argv, Plan* plan);

}  // namespace shardlab::train
