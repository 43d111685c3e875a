#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "context.hpp"

/// A small course in a temporary folder: the module `demo` with the parts `first` (1 point, a.cpp), `second` (1 point,
/// after first, b.cpp) and `extra` (1 bonus point, c.cpp), and the module `other` with the part `only`.
class Tree : public testing::Test {
 protected:
  /// What `lab` did.
  struct Ended {
    int status = -1;
    std::string out;
    std::string err;
  };

  void SetUp() override;
  void TearDown() override;

  /// Runs the program `lab` in this tree, with the scripts of this tree before all others in PATH.
  Ended Lab(const std::string& arguments);

  /// A path in the tree's root.
  std::string In(const std::string& path) const { return (root_ / path).string(); }
  /// Writes a file below the root; makes its folder.
  void Write(const std::string& path, const std::string& text, bool executable = false);
  std::string Read(const std::string& path) const;
  bool Exists(const std::string& path) const { return std::filesystem::exists(root_ / path); }

  /// The script that stands in for a program in PATH, "cmake".
  void Script(const std::string& program, const std::string& body) {
    Write("tools/" + program, "#!/bin/sh\n" + body, true);
  }
  /// What cmake was asked to do, one call a line; "" if nothing.
  std::string Built() const { return Exists("built") ? Read("built") : ""; }

  shardlab::cli::Context MakeContext() const;

  std::filesystem::path root_;
  std::string path_before_;
};
