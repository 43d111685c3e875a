#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "shardlab/comm/communicator.hpp"

/// \file
/// Where the ranks of a training run come from: from torchrun, mpirun or srun, which started this program once a rank,
/// or from this program itself.

namespace shardlab::train {

/// This process as a launcher describes it in the environment.
struct LaunchedRank {
  int rank = 0;
  int ranks = 1;
  std::string launcher;  ///< "torchrun", "mpirun", "srun"
};

/// Which rank this process is; nothing when no launcher started it.
/// \throws UsageError for an environment that contradicts itself.
std::optional<LaunchedRank> FindLauncher();

/// What a rank does. Throws when it fails.
using RankBody = std::function<void(std::shared_ptr<Communicator> world)>;

/// Runs `body` as the rank that the launcher made of this process. The ranks find each other at MASTER_ADDR and
/// MASTER_PORT, or without these in a file that the launcher's job has to itself, on one machine.
/// \throws EnvironmentError when there is no place to meet; whatever `body` throws.
void RunAsLaunched(const LaunchedRank& launched, double limit_s, const RankBody& body);

/// Starts `ranks` processes, which run `body`, and waits for them. No process is left when it returns or throws, and
/// none outlives this one.
///
/// They are forked: the calling process has loaded LibTorch, which takes a second, once for all of them, and must not
/// have used it, since threads do not survive a fork.
/// \throws UsageError, EnvironmentError or std::runtime_error with the message of the rank that failed first; the other
///         ranks, which wait for that one in vain, are ended.
void StartRanks(int ranks, double limit_s, const RankBody& body);

}  // namespace shardlab::train
