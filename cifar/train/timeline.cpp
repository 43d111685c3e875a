#include "timeline.hpp"

#include "shardlab/plan/draw.hpp"
#include "shardlab/report/terminal.hpp"

namespace shardlab::train {

std::string TraceOfPlanAndRun(const Schedule& schedule, const Simulation& plan, const Simulation& run) {
  constexpr double kMicroseconds = 1e6;
  return ToChromeTrace({{"plan", schedule, plan}, {"run", schedule, run}}, kMicroseconds);
}

std::string DrawTimes(const Schedule& schedule, Simulation simulation, double whole) {
  for (auto& spans : simulation.ranks) {
    for (Span& span : spans) {
      span.begin *= 1e3;
      span.end *= 1e3;
    }
  }
  simulation.makespan *= 1e3;
  const Terminal terminal = Terminal::Of(1);
  return DrawText(schedule, simulation, {terminal.columns, terminal.colour, terminal.unicode, 1e3 * whole});
}

}  // namespace shardlab::train
