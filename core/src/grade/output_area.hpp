#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "shardlab/grade/wire.hpp"
#include "shardlab/launch/process.hpp"

namespace shardlab::grade {

/// The memory in which a rank leaves its outputs and its last words. It is mapped before the body runs and stays usable
/// when the student's code closes descriptors that are not its own.
class OutputArea {
 public:
  /// Ends the process when there is no such memory: nobody would hear of it anyway.
  explicit OutputArea(const launch::Fd& memory);

  OutputHeader& header() { return *reinterpret_cast<OutputHeader*>(base_); }
  StackArea* stack() { return reinterpret_cast<StackArea*>(base_ + kStackAreaOffset); }

  /// How far the rank has come.
  void Set(RankStage stage, const std::string& message = "");

  /// Hands back a tensor. \throws ContractError when the name was used before, or there is no room left
  void Put(const std::string& name, uint8_t dtype, const std::vector<int64_t>& shape, const void* data, size_t bytes);

 private:
  uint8_t* base_;
  size_t size_;
  std::set<std::string> names_;
  size_t used_ = 0;
};

}  // namespace shardlab::grade
