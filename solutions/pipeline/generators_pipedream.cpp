#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "shardlab/pipeline/policies.hpp"

// PipeDream: 1F1B without a flush. Every micro-batch is an update, so while one is on its way to the last stage and
// back, the stage that it left has stepped. Three stages; each action with the weight version that it uses, U a step:
//
//     stage 0   F0@0 F1@0 F2@0 B0@0 U1 F3@1 B1@0 U2 F4@2 B2@0 U3 F5@3 B3@1 ...
//     stage 1   F0@0 F1@0 B0@0 U1 F2@1 B1@0 U2 F3@2 B2@1 U3 F4@3 B3@2 ...
//     stage 2   F0@0 B0@0 U1 F1@1 B1@1 U2 F2@2 B2@2 U3 ...
//                              (1)      (2)
//
// (1) A forward takes the newest weights there are and remembers which. (2) Its backward uses the same again: a
// gradient mixed of two versions is the gradient of no function. So stage s keeps P-s versions: one for each
// micro-batch in flight.
//
// With vertical sync a micro-batch uses one version at all stages: the newest that the last stage has too, which is
// t-P+1 for micro-batch t. The gradient is then that of one whole, P-1 updates old model.

namespace shardlab {

namespace {

// Gives every forward the version that `choose` names, every backward that of its forward, and steps behind each
// micro-batch. `choose` is told the latest version of the chunk and the micro-batch.
template <typename Choose>
Schedule StepEveryMicrobatch(Schedule schedule, Choose choose) {
  for (auto& list : schedule.ranks) {
    std::map<int, int> latest;                 // of each chunk
    std::map<std::pair<int, int>, int> stash;  // of each chunk and micro-batch in flight
    std::vector<Action> out;
    for (Action action : list) {
      if (action.kind == ActionKind::kStep) throw ScheduleError("pipedream: there are steps in the schedule already");
      int& version = stash[{action.chunk, action.microbatch}];
      if (action.kind == ActionKind::kForward) version = choose(latest[action.chunk], action.microbatch);  // (1)
      action.version = version;                                                                            // (2)
      out.push_back(action);
      if (GivesWeightGradient(action.kind)) out.push_back(Action::Step(action.chunk, ++latest[action.chunk]));
    }
    list = std::move(out);
  }
  return schedule;
}

}  // namespace

Schedule StashWeights(Schedule schedule) {
  schedule.name = "pipedream";
  return StepEveryMicrobatch(std::move(schedule), [](int latest, int) { return latest; });
}

Schedule StashWeightsVerticalSync(Schedule schedule) {
  schedule.name = "pipedream-vsync";
  const int P = schedule.layout.stages();
  return StepEveryMicrobatch(std::move(schedule), [P](int, int t) { return std::max(t - P + 1, 0); });
}

}  // namespace shardlab
