#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "shardlab/launch/process.hpp"
#include "supervised.hpp"

/// What the attacks are after: files that a submission has no business with, a server of this machine, a seed. Gone
/// with its owner.
class Playground {
 public:
  Playground();
  ~Playground();
  Playground(const Playground&) = delete;
  Playground& operator=(const Playground&) = delete;

  /// A session of these tests' module, for these parts.
  shardlab::grade::SessionOptions Options(const std::vector<std::string>& parts) const;
  /// The host program under another name, which is how it is told what to do while it is loaded.
  std::string HostCalled(const std::string& name) const;
  /// Whether the referee's file, the rubric and the progress file are as they were.
  bool FilesAreUntouched() const;
  /// What is in the folder for temporary files.
  std::vector<std::string> Leftovers() const;
  /// How much the attacks that fill disks and memory are to write; they do nothing until they are told.
  void Allow(int64_t fill_bytes, int64_t hog_bytes);

 private:
  void Tell() const;

  std::string folder_;
  shardlab::launch::Fd server_;
  int port_ = 0;
  int64_t fill_bytes_ = 0, hog_bytes_ = 0;
};
