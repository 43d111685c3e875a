#include "shardlab/pipeline/engine.hpp"

#include <fmt/format.h>

#include "execution.hpp"
#include "shardlab/base/errors.hpp"

namespace shardlab {

Tensors Stage::BackwardInput(int, const Tensors&) {
  throw ContractError(
      "this stage's backward is whole: a schedule with its halves I and W needs stages of MakeSplitStage");
}

void Stage::BackwardWeight(int) { BackwardInput(0, {}); }

Schedule ForwardOnly(const Layout& layout, int microbatches) {
  Schedule schedule("forward", layout, microbatches);
  for (int i = 0; i < microbatches; ++i) {
    for (int chunk = 0; chunk < layout.stages(); ++chunk) {
      schedule.ranks[static_cast<size_t>(layout.chunk(chunk).rank)].push_back(Action::Forward(chunk, i));
    }
  }
  return schedule;
}

ScheduleError FailureAt(const Schedule& schedule, int rank, int step, const std::string& cause) {
  const Action& action = schedule.ranks.at(static_cast<size_t>(rank)).at(static_cast<size_t>(step));
  return ScheduleError(
      fmt::format("rank {} failed at {} (entry {} of its list): {}", rank, ToString(action), step, cause), rank, step,
      ErrorTable(schedule, {{rank, step, "failed here"}}));
}

}  // namespace shardlab
