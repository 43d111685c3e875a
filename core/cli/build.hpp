#pragma once

#include <string>
#include <vector>

#include "context.hpp"

/// \file
/// Building what a subcommand needs.

namespace shardlab::cli {

/// Ended by Ctrl-C or another signal. Not an error: what there is so far is still worth writing.
struct Interrupted {
  int signal = 0;
};

/// Builds targets with a progress bar; what the compiler says is shown only if that fails. With nothing to build it is
/// silent and takes about 0.1 s. Waits for another `lab` that builds in the same folder.
/// \throws EnvironmentError if a target cannot be built, after what the compiler said; Interrupted on a signal.
void Build(const Context& context, const std::vector<std::string>& targets);

/// The names of the programs of this build that begin with `prefix`, sorted, without building anything.
std::vector<std::string> ProgramsInBuild(const Context& context, const std::string& prefix);

}  // namespace shardlab::cli
