#pragma once

#include <string>
#include <vector>

#include "shardlab/launch/run_ranks.hpp"

/// \file
/// Ranks as programs of their own: where a fork will not do, because the device (CUDA) or the parent has threads.

namespace shardlab {

/// Starts `command` (a program and its arguments) `ranks` times on this machine and waits for all of them. Each finds
/// in its environment RANK, LOCAL_RANK, WORLD_SIZE and LOCAL_WORLD_SIZE as torchrun sets them, and the file in which
/// they meet, so that FindLauncher and JoinWorld make it its rank; that file is in a fresh directory, removed
/// afterwards. What the programs print goes where this process prints.
///
/// A rank fails when its exit status is not 0. The others then have a second to notice before they are ended. When
/// SpawnRanks returns, none of the programs is left, nor what descended from them while they were ended.
///
/// Cost: starting a program that loads LibTorch takes 0.8 s, where a fork (RunRanks) takes 0.02 s.
///
/// \param options the limit for all of it, and the threads; `operation_limit_s` is the programs' own business.
/// \returns what failed, the earliest first; empty when every program ended with exit status 0.
/// \throws ContractError for a number of ranks below 1 or an empty command; EnvironmentError when the program cannot be
///         started.
std::vector<RankFailure> SpawnRanks(int ranks, const std::vector<std::string>& command,
                                    const RunRanksOptions& options = {});

}  // namespace shardlab
