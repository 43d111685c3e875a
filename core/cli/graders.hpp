#pragma once

#include <string>
#include <vector>

#include "context.hpp"
#include "shardlab/grade/session.hpp"

/// \file
/// The programs that grade a module, as this build has them (cmake/Module.cmake).

namespace shardlab::cli {

/// What a module is graded with.
struct Graders {
  std::vector<std::string> targets;             ///< to build
  std::vector<grade::GraderPrograms> programs;  ///< to run, in this order
};

/// The graders of a module. Where it has cases without LibTorch, their host and referee come first; with `quick` they
/// are all, and a module that has no such cases has no graders.
/// \param flavour "exercises" or "solutions"
Graders GradersOf(const SourceTree& tree, const std::string& module, const std::string& flavour, bool quick = false);

/// The student's files of a module that need no LibTorch.
std::vector<std::string> PlainFiles(const SourceTree& tree, const std::string& module);

}  // namespace shardlab::cli
