#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Generator.h>

#include "shardlab/comm/communicator.hpp"

/// \file
/// Ranks in a grid with named axes.
///
///     data=2,tensor=3      tensor 0   1   2
///                   data 0 rank   0   1   2       Along("tensor") of rank 4: ranks 3 4 5
///                   data 1 rank   3   4   5       Along("data")   of rank 4: ranks 1 4
///
/// The last axis runs fastest (row-major), so that the ranks that talk most (tensor) are neighbours.

namespace shardlab {

/// One axis of a mesh: "data", "pipe", "tensor", "spatial".
struct MeshAxis {
  std::string name;  ///< by which it is asked for
  int size = 1;      ///< how many ranks lie along it
  /// Of a spatial axis written "2x3": rows and columns of the grid of tiles, row-major along the axis. Else 0.
  int rows = 0;
  int columns = 0;  ///< see rows
};

/// "data=2,tensor=3": the text that ParseMesh reads.
std::string MeshText(const std::vector<MeshAxis>& axes);

/// Reads "data=2,pipe=4,tensor=1,spatial=1x1". \throws ContractError for a name that is not an axis (it says which
/// are), a name given twice, a size below 1, and text of another form.
std::vector<MeshAxis> ParseMesh(const std::string& text);

/// How many ranks the mesh has.
int MeshSize(const std::vector<MeshAxis>& axes);

/// \throws ContractError unless the axes multiply to `ranks`; it says which sizes would: "data=2,tensor=2 needs 4
/// ranks, there are 6: data=3,tensor=2 or data=2,tensor=3 would fit".
void CheckMesh(const std::vector<MeshAxis>& axes, int ranks);

/// Where rank `rank` lies along each axis.
std::vector<int> MeshCoordinate(const std::vector<MeshAxis>& axes, int rank);

/// The groups of ranks that differ only along the axes named `along`: a partition of all ranks, ordered by their first
/// rank, each in the order of ranks. A pure function.
/// \throws ContractError for an axis that the mesh does not have.
std::vector<std::vector<int>> MeshGroups(const std::vector<MeshAxis>& axes, const std::vector<std::string>& along);

/// This rank's place in a mesh, with a communicator along each axis.
///
/// Every rank makes the same meshes, and calls Together, in the same order. One thread at a time uses it.
class DeviceMesh {
 public:
  /// Makes the groups of every axis, in the order of the axes. \throws ContractError as CheckMesh; CommError when the
  /// ranks of a group do not come together.
  DeviceMesh(std::shared_ptr<Communicator> world, std::vector<MeshAxis> axes);

  /// All ranks of the mesh.
  Communicator& world() const { return *world_; }
  /// The axes, slowest first.
  const std::vector<MeshAxis>& axes() const { return axes_; }

  /// The ranks that differ from this one only along `axis`; this rank's number in it is its coordinate.
  /// \throws ContractError for an axis that the mesh does not have; it says which it has.
  std::shared_ptr<Communicator> Along(const std::string& axis) const;
  /// The ranks that differ from this one only along `axes`, made at the first call: all ranks call it.
  std::shared_ptr<Communicator> Together(const std::vector<std::string>& axes);

  /// How many ranks lie along `axis`.
  int Size(const std::string& axis) const;
  /// Where this rank lies along `axis`.
  int Coordinate(const std::string& axis) const;

  /// A seed that differs between ranks whose coordinates along the axes `differ` differ, and is the same on all others:
  /// dropout on replicated activations shares along "tensor", shuffled data differ along "data".
  uint64_t Seed(uint64_t seed, const std::vector<std::string>& differ) const;
  /// A random state begun with that seed.
  at::Generator RandomState(uint64_t seed, const std::vector<std::string>& differ) const;

 private:
  size_t Index(const std::string& axis) const;

  std::shared_ptr<Communicator> world_;
  std::vector<MeshAxis> axes_;
  std::vector<int> coordinate_;
  std::vector<std::shared_ptr<Communicator>> along_;
  std::map<std::vector<size_t>, std::shared_ptr<Communicator>> together_;
};

}  // namespace shardlab
