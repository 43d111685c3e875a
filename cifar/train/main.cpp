// `lab train`: trains a model on a mesh of ranks, with the layers of one flavour of the modules.

#include <cstdio>

#include <fmt/format.h>

#include "plan.hpp"
#include "run.hpp"
#include "shardlab/base/errors.hpp"
#include "world.hpp"

namespace shardlab::train {
namespace {

int Main(int argc, char** argv) {
  Plan plan;
  if (!ReadPlan(argc, argv, &plan)) return 0;
  const auto body = [&](std::shared_ptr<Communicator> world) { TrainRank(plan, std::move(world)); };
  if (const auto launched = FindLauncher()) {
    try {
      CheckMesh(plan.axes, launched->ranks);
    } catch (const ContractError& error) {
      throw UsageError(fmt::format("--mesh under {}: {}", launched->launcher, error.what()));
    }
    RunAsLaunched(*launched, plan.limit_s, body);
  } else {
    StartRanks(plan.ranks(), plan.limit_s, body);
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
