// `lab train`: trains a model on a mesh of ranks, with the layers of one flavour of the modules.

#include <cstdio>
#include <stdexcept>

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include "request.hpp"
#include "run.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/launch/run_ranks.hpp"
#include "shardlab/launch/world.hpp"
#include "shardlab/plan/schedule_error.hpp"
#include "tiles.hpp"

namespace shardlab::train {
namespace {

// The first rank to fail is the root cause; its error becomes this process's.
[[noreturn]] void Throw(const RankFailure& failure) {
  if (failure.usage) throw UsageError(failure.message);
  if (failure.environment) throw EnvironmentError(failure.message);
  if (failure.not_implemented) throw std::runtime_error(failure.message);
  throw std::runtime_error(fmt::format("rank {} {}", failure.rank, failure.message));
}

// An error of a schedule comes with the lists of all ranks around it.
void Train(const TrainRequest& request, const std::shared_ptr<Communicator>& world) {
  try {
    TrainRank(request, world);
  } catch (const ScheduleError& error) {
    std::string message = Brief(error);
    const int replicas = request.Along("data");  // each numbers its ranks by itself
    if (replicas > 1) message = fmt::format("in replica {}, {}", world->rank() * replicas / world->size(), message);
    if (!error.table().empty()) message += "\n" + error.table();
    while (!message.empty() && message.back() == '\n') message.pop_back();
    throw std::runtime_error(message);
  }
}

int Main(int argc, char** argv) {
  TrainRequest request;
  if (!ReadRequest(argc, argv, &request)) return 0;
  RequireTiles(request);
  const auto body = [&](const std::shared_ptr<Communicator>& world) { Train(request, world); };
  if (const auto launched = FindLauncher()) {
    try {
      if (request.pipeline && request.grid.size() > 1 && launched->ranks != request.ranks()) {
        throw ContractError(fmt::format("{} with {} stage{} on tiles needs {} ranks, there are {}", request.mesh,
                                        request.spatial_stages, request.spatial_stages == 1 ? "" : "s", request.ranks(),
                                        launched->ranks));
      }
      CheckMesh(request.RankAxes(), launched->ranks);
    } catch (const ContractError& error) {
      throw UsageError(fmt::format("--mesh under {}: {}", launched->launcher, error.what()));
    }
    at::set_num_threads(1);
    RunInWorld(*launched, request.limit_s, body);
  } else {
    RunRanksOptions options;
    options.limit_s = 0;  // training takes as long as it takes; an operation does not
    options.operation_limit_s = request.limit_s;
    const auto failures = RunRanks(request.ranks(), body, options);
    if (!failures.empty()) Throw(failures.front());
  }
  return 0;
}

int Report(const std::exception& error, int status) {
  fmt::print(stderr, "lab train: {}\n", Brief(error));
  return status;
}

}  // namespace
}  // namespace shardlab::train

int main(int argc, char** argv) {
  using namespace shardlab;
  try {
    return train::Main(argc, argv);
  } catch (const UsageError& error) {
    return train::Report(error, 2);
  } catch (const EnvironmentError& error) {
    return train::Report(error, 3);
  } catch (const std::exception& error) {
    return train::Report(error, 1);
  }
}
