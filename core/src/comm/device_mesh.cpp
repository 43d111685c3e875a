#include "shardlab/comm/device_mesh.hpp"

#include <algorithm>
#include <charconv>
#include <set>
#include <utility>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "shardlab/base/counter_random.hpp"
#include "shardlab/base/errors.hpp"

namespace shardlab {
namespace {

const char* const kAxes[] = {"data", "pipe", "tensor", "spatial"};

size_t FindAxis(const std::vector<MeshAxis>& axes, const std::string& name) {
  for (size_t i = 0; i < axes.size(); ++i) {
    if (axes[i].name == name) return i;
  }
  throw ContractError(fmt::format("there is no axis '{}' in the mesh {}", name, MeshText(axes)));
}

// A whole number of 1 or more; 0 for anything else.
int ParseSize(const std::string& text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && value >= 1 ? value : 0;
}

// An axis of another size, written as that axis is.
MeshAxis Resized(MeshAxis axis, int size) {
  axis.size = size;
  if (axis.rows > 0) {
    axis.rows = 1;
    axis.columns = size;
  }
  return axis;
}

}  // namespace

std::string MeshText(const std::vector<MeshAxis>& axes) {
  std::vector<std::string> texts;
  for (const MeshAxis& axis : axes) {
    texts.push_back(axis.rows > 0 ? fmt::format("{}={}x{}", axis.name, axis.rows, axis.columns)
                                  : fmt::format("{}={}", axis.name, axis.size));
  }
  return fmt::format("{}", fmt::join(texts, ","));
}

std::vector<MeshAxis> ParseMesh(const std::string& text) {
  const auto refuse = [&text](const std::string& why) {
    throw ContractError(
        fmt::format("the mesh '{}': {}; a mesh is written like data=2,pipe=4,tensor=1,spatial=1x1", text, why));
  };
  std::vector<MeshAxis> axes;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string item = text.substr(begin, end - begin);
    begin = end + 1;
    const size_t equals = item.find('=');
    if (equals == std::string::npos) refuse(fmt::format("'{}' has no size", item));
    MeshAxis axis;
    axis.name = item.substr(0, equals);
    const std::string size = item.substr(equals + 1);
    if (std::find(std::begin(kAxes), std::end(kAxes), axis.name) == std::end(kAxes)) {
      refuse(fmt::format("there is no axis '{}', there are {}", axis.name, fmt::join(kAxes, ", ")));
    }
    for (const MeshAxis& other : axes) {
      if (other.name == axis.name) refuse(fmt::format("'{}' is given twice", axis.name));
    }
    const size_t cross = size.find('x');
    if (cross != std::string::npos && axis.name == "spatial") {
      axis.rows = ParseSize(size.substr(0, cross));
      axis.columns = ParseSize(size.substr(cross + 1));
      axis.size = axis.rows * axis.columns;
    } else {
      axis.size = ParseSize(size);
    }
    if (axis.size < 1) refuse(fmt::format("'{}' is no size for {}: 1, 2, 3, ...", size, axis.name));
    axes.push_back(std::move(axis));
  }
  return axes;
}

int MeshSize(const std::vector<MeshAxis>& axes) {
  int size = 1;
  for (const MeshAxis& axis : axes) size *= axis.size;
  return size;
}

void CheckMesh(const std::vector<MeshAxis>& axes, int ranks) {
  std::set<std::string> names;
  for (const MeshAxis& axis : axes) {
    if (axis.size < 1) throw ContractError(fmt::format("the mesh {}: a size is 1 or more", MeshText(axes)));
    if (!names.insert(axis.name).second) {
      throw ContractError(fmt::format("the mesh {}: '{}' is given twice", MeshText(axes), axis.name));
    }
  }
  const int needed = MeshSize(axes);
  if (needed == ranks) return;

  // What would fit: the mesh with one size changed; where none does, all ranks along one axis.
  std::vector<std::string> fitting;
  for (size_t i = 0; i < axes.size() && ranks >= 1; ++i) {
    const int others = needed / axes[i].size;
    if (ranks % others != 0) continue;
    std::vector<MeshAxis> changed = axes;
    changed[i] = Resized(changed[i], ranks / others);
    fitting.push_back(MeshText(changed));
  }
  for (size_t i = 0; i < axes.size() && ranks >= 1 && fitting.size() < axes.size(); ++i) {
    std::vector<MeshAxis> changed;
    for (size_t j = 0; j < axes.size(); ++j) changed.push_back(Resized(axes[j], j == i ? ranks : 1));
    const std::string text = MeshText(changed);
    if (std::find(fitting.begin(), fitting.end(), text) == fitting.end()) fitting.push_back(text);
  }
  throw ContractError(fmt::format("{} needs {} rank{}, there {} {}{}", MeshText(axes), needed, needed == 1 ? "" : "s",
                                  ranks == 1 ? "is" : "are", ranks,
                                  fitting.empty() ? "" : fmt::format(": {} would fit", fmt::join(fitting, " or "))));
}

std::vector<int> MeshCoordinate(const std::vector<MeshAxis>& axes, int rank) {
  if (rank < 0 || rank >= MeshSize(axes)) {
    throw ContractError(fmt::format("the mesh {} has ranks 0 to {}, not {}", MeshText(axes), MeshSize(axes) - 1, rank));
  }
  std::vector<int> coordinate(axes.size());
  for (size_t i = axes.size(); i-- > 0;) {
    coordinate[i] = rank % axes[i].size;
    rank /= axes[i].size;
  }
  return coordinate;
}

std::vector<std::vector<int>> MeshGroups(const std::vector<MeshAxis>& axes, const std::vector<std::string>& along) {
  std::set<size_t> free;
  for (const std::string& name : along) free.insert(FindAxis(axes, name));
  std::map<std::vector<int>, size_t> place;  // what the ranks of a group have in common, and the group's number
  std::vector<std::vector<int>> groups;
  for (int rank = 0; rank < MeshSize(axes); ++rank) {
    std::vector<int> common = MeshCoordinate(axes, rank);
    for (const size_t axis : free) common[axis] = 0;
    const auto [found, is_new] = place.emplace(common, groups.size());
    if (is_new) groups.emplace_back();
    groups[found->second].push_back(rank);
  }
  return groups;
}

namespace {

// Every rank makes every group, its own and the others', in the same order.
std::shared_ptr<Communicator> MakeGroups(Communicator& world, const std::vector<std::vector<int>>& groups,
                                         const std::string& name) {
  std::shared_ptr<Communicator> mine;
  for (const std::vector<int>& ranks : groups) {
    const auto made = world.Subgroup(ranks, name);
    if (made) mine = made;
  }
  return mine;
}

}  // namespace

DeviceMesh::DeviceMesh(std::shared_ptr<Communicator> world, std::vector<MeshAxis> axes)
    : world_(std::move(world)), axes_(std::move(axes)) {
  CheckMesh(axes_, world_->size());
  coordinate_ = MeshCoordinate(axes_, world_->rank());
  for (const MeshAxis& axis : axes_) along_.push_back(MakeGroups(*world_, MeshGroups(axes_, {axis.name}), axis.name));
}

size_t DeviceMesh::Index(const std::string& axis) const { return FindAxis(axes_, axis); }

std::shared_ptr<Communicator> DeviceMesh::Along(const std::string& axis) const { return along_[Index(axis)]; }

std::shared_ptr<Communicator> DeviceMesh::Together(const std::vector<std::string>& axes) {
  std::vector<size_t> key;
  for (const std::string& axis : axes) key.push_back(Index(axis));
  std::sort(key.begin(), key.end());
  key.erase(std::unique(key.begin(), key.end()), key.end());
  if (key.size() == 1) return along_[key[0]];
  auto& made = together_[key];
  if (!made) {
    std::vector<std::string> names;
    for (const size_t index : key) names.push_back(axes_[index].name);
    made = MakeGroups(*world_, MeshGroups(axes_, names), fmt::format("{}", fmt::join(names, "+")));
  }
  return made;
}

int DeviceMesh::Size(const std::string& axis) const { return axes_[Index(axis)].size; }

int DeviceMesh::Coordinate(const std::string& axis) const { return coordinate_[Index(axis)]; }

uint64_t DeviceMesh::Seed(uint64_t seed, const std::vector<std::string>& differ) const {
  uint64_t mixed = CounterRandom({seed, HashName("mesh")}).At(0);
  std::set<size_t> indices;
  for (const std::string& axis : differ) indices.insert(Index(axis));
  for (const size_t index : indices) {
    mixed = CounterRandom({mixed, index}).At(static_cast<uint64_t>(coordinate_[index]));
  }
  return mixed;
}

at::Generator DeviceMesh::RandomState(uint64_t seed, const std::vector<std::string>& differ) const {
  return at::detail::createCPUGenerator(Seed(seed, differ));
}

}  // namespace shardlab
