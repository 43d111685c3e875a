#pragma once

#include <map>
#include <string>

#include "shardlab/base/errors.hpp"
#include "shardlab/pipeline/generators.hpp"
#include "shardlab/pipeline/interleaved_any.hpp"
#include "shardlab/pipeline/policies.hpp"
#include "shardlab/plan/more_generators.hpp"
#include "shardlab/plan/traits.hpp"

/// \file
/// The generators by name: the contracts, of the flavour that a program is linked with, and those that are no exercise.

namespace shardlab {

/// Generates the computation of a schedule: its lists, and weight versions and steps where it is asynchronous. What it
/// lacks is Flush, where it has a flush, and what the passes add.
/// \param traits one of AllScheduleTraits()
/// \param chunks a rank; looked at where the schedule takes them
/// \param microbatches of an update
/// \param updates of a run; 1 where there is a flush
/// \throws ScheduleError for sizes that the schedule cannot have; NotImplemented from a stub; ContractError where no
/// generator is known by that name.
inline Schedule ComputationOf(const ScheduleTraits& traits, int ranks, int chunks, int microbatches, int updates) {
  struct Sizes {
    int P, v, m, all;
  };
  static const std::map<std::string, Schedule (*)(const Sizes&)> generators = {
      {"naive", [](const Sizes& s) { return Naive(s.P, s.m); }},
      {"gpipe", [](const Sizes& s) { return GPipe(s.P, s.m); }},
      {"1f1b", [](const Sizes& s) { return OneFOneB(s.P, s.m); }},
      {"interleaved", [](const Sizes& s) { return InterleavedOneFOneB(s.P, s.v, s.m); }},
      {"interleaved-any", [](const Sizes& s) { return InterleavedAny(s.P, s.v, s.m); }},
      {"looped-bfs", [](const Sizes& s) { return LoopedBreadthFirst(s.P, s.v, s.m); }},
      {"zb-h1", [](const Sizes& s) { return ZeroBubbleH1(s.P, s.m); }},
      {"zb-h2", [](const Sizes& s) { return ZeroBubbleH2(s.P, s.m); }},
      {"interleaved-zb", [](const Sizes& s) { return InterleavedZeroBubble(s.P, s.v, s.m); }},
      {"zb-v", [](const Sizes& s) { return ZeroBubbleV(s.P, s.m); }},
      {"dualpipe-v", [](const Sizes& s) { return DualPipeV(s.P, s.m); }},
      {"pipedream", [](const Sizes& s) { return StashWeights(OneFOneB(s.P, s.all)); }},
      {"pipedream-vsync", [](const Sizes& s) { return StashWeightsVerticalSync(OneFOneB(s.P, s.all)); }},
      {"2bw", [](const Sizes& s) { return DoubleBufferWeights(OneFOneB(s.P, s.all), s.m); }},
      {"wpipe", [](const Sizes& s) { return GroupWeights(WPipe(s.P, s.all), s.m); }},
  };
  const auto generator = generators.find(traits.name);
  if (generator == generators.end()) throw ContractError("no generator is known of the schedule " + traits.name);
  return generator->second({ranks, chunks, microbatches, microbatches * updates});
}

}  // namespace shardlab
