#include "shardlab/plan/simulate.hpp"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "execution.hpp"

namespace shardlab {

namespace {

template <typename T>
void CheckList(const std::vector<T>& list, int stages, const char* what) {
  if (list.size() != 1 && static_cast<int>(list.size()) != stages) {
    throw ScheduleError(fmt::format("the {} has {} entries: give one for all, or one for each of the {} stages", what,
                                    list.size(), stages));
  }
  for (const T& value : list) {
    if (!(value >= 0) || static_cast<double>(value) > CostModel::kMost) {
      throw ScheduleError(fmt::format("the {} is {}: it has to be 0 to {:g}", what, value, CostModel::kMost));
    }
  }
}

}  // namespace

CostModel CostModel::Uniform(double tf, double tb, int chunks_per_rank, double weight_share) {
  CostModel costs;
  costs.forward = {tf / chunks_per_rank};
  costs.backward_input = {tb * (1 - weight_share) / chunks_per_rank};
  costs.backward_weight = {tb * weight_share / chunks_per_rank};
  return costs;
}

Simulation Simulate(const Schedule& schedule, const CostModel& costs, const RunRules& rules) {
  const int stages = schedule.layout.stages();
  CheckList(costs.forward, stages, "forward time");
  CheckList(costs.backward_input, stages, "time of the input half of the backward");
  CheckList(costs.backward_weight, stages, "time of the weight half of the backward");
  CheckList(costs.message, stages, "message time");
  CheckList(costs.reduce, stages, "reduction time");
  CheckList(costs.step, stages, "step time");
  CheckList(costs.boundary_bytes, stages, "number of boundary bytes");

  if (!(costs.pair > 0 && costs.pair <= 1)) {
    throw ScheduleError(fmt::format("the share of a pair is {}: it has to be above 0 and at most 1", costs.pair));
  }

  Simulation result;
  Execution run = ValidateAndExecute(schedule, costs, rules, /*record=*/true, result.footprint);
  result.ranks = std::move(run.ranks);
  result.messages = std::move(run.messages);

  for (const MessageSpan& message : result.messages) {
    const int stage = schedule.layout.chunk(message.send.chunk).stage;
    const int boundary = message.send.kind == ActionKind::kSendForward ? stage : stage - 1;
    const auto& bytes = costs.boundary_bytes;
    result.bytes += bytes.size() == 1 ? bytes.front() : bytes[static_cast<size_t>(boundary)];
  }

  double total = 0;
  for (const auto& spans : result.ranks) {
    double busy = 0;
    double first = 0;
    double last = 0;
    bool any = false;
    for (size_t k = 0; k < spans.size(); ++k) {
      const Span& span = spans[k];
      result.makespan = std::max(result.makespan, span.end);
      if (!IsCompute(span.action.kind)) continue;
      if (!any) first = span.begin;
      any = true;
      last = span.end;
      if (!ClosesPair(spans, k)) busy += span.end - span.begin;
    }
    result.busy.push_back(busy);
    result.gaps.push_back(last - first - busy);
    total += busy;
  }
  if (result.makespan > 0) result.bubble = 1 - total / (static_cast<double>(result.ranks.size()) * result.makespan);
  return result;
}

}  // namespace shardlab
