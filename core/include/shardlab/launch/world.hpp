#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "shardlab/comm/communicator.hpp"

/// \file
/// Ranks that something else started: torchrun, mpirun or srun, on one machine or on many.

namespace shardlab {

/// This process as a launcher describes it in the environment.
struct LaunchedRank {
  int rank = 0;          ///< this process
  int ranks = 1;         ///< how many there are
  std::string launcher;  ///< "torchrun", "mpirun", "srun"
};

/// Which rank this process is: torchrun says it in RANK and WORLD_SIZE, mpirun in OMPI_COMM_WORLD_RANK and ..._SIZE or
/// in PMI_RANK and PMI_SIZE, srun in SLURM_PROCID and SLURM_NTASKS; nothing when no launcher started it.
/// \throws UsageError for values that are no rank and number of ranks.
std::optional<LaunchedRank> FindLauncher();

/// Connects to the other ranks, which meet in the file that SpawnRanks made for them, or at MASTER_ADDR and MASTER_PORT
/// (torchrun sets them), or without these, on one machine, in a file that the launcher's job has to itself.
/// \param limit_s for meeting and for every operation later.
/// \throws EnvironmentError when there is no place to meet, or nobody there; CommError when the others do not come.
std::shared_ptr<Communicator> JoinWorld(const LaunchedRank& launched, double limit_s);

/// Runs `body` on the world that JoinWorld connects to. What it throws goes on, and the other ranks are told
/// (FailureNews): whatever they wait for then fails with this rank's message in theirs.
void RunInWorld(const LaunchedRank& launched, double limit_s,
                const std::function<void(const std::shared_ptr<Communicator>&)>& body);

}  // namespace shardlab
