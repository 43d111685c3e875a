// A program that SpawnRanks starts: joins the others, adds up ones, and ends as its argument says.

#include <unistd.h>

#include <cstdlib>
#include <string>

#include <ATen/ATen.h>

#include "shardlab/launch/world.hpp"

int main(int, char** argv) {
  const std::string how = argv[1];
  const auto launched = shardlab::FindLauncher();
  if (!launched) return 10;
  if (how == "fail" && launched->rank == 1) return 3;
  const auto world = shardlab::JoinWorld(*launched, 60);
  const at::Tensor sum = at::ones({1});
  world->AllReduce(sum);
  if (sum.item<float>() != static_cast<float>(launched->ranks)) return 11;
  if (how == "abort" && launched->rank == 0) std::abort();
  while (how == "hang") sleep(1);
  _exit(0);
}
