#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "shardlab/base/errors.hpp"
#include "shardlab/grade/plain_body.hpp"
#include "shardlab/pipeline/balance.hpp"
#include "shardlab/pipeline/computation.hpp"
#include "shardlab/plan/schedule_error.hpp"
#include "shardlab/plan/text.hpp"

// What needs no tensor: schedules, and where to cut.

namespace shardlab::grade {

// The lists that are asked for, as text; or what was thrown.
SHARDLAB_PLAIN_BODY(schedules) {
  const auto& asked = ctx.params().at("asked");
  for (size_t i = 0; i < asked.size(); ++i) {
    const auto& one = asked[i];
    std::string text;
    try {
      Schedule schedule = ComputationOf(TraitsOf(one.at("name").get<std::string>()), one.at("ranks"), one.at("chunks"),
                                        one.at("microbatches"), one.at("updates"));
      if (one.at("flush").get<bool>()) schedule = Flush(std::move(schedule));
      text = FormatSchedule(schedule);
    } catch (const ScheduleError& error) {
      text = std::string("error: ") + error.what();
    }
    ctx.Text("schedule " + std::to_string(i), text);
  }
}

// An update at the end of lists whose ranks have two chunks each; and whether a second one is refused.
SHARDLAB_PLAIN_BODY(flush) {
  Schedule schedule("all forwards, all backwards", Layout::Looped(2, 2), 1);
  for (int chunk = 0; chunk < 4; ++chunk) schedule.ranks[chunk % 2].push_back(Action::Forward(chunk, 0));
  for (int chunk = 3; chunk >= 0; --chunk) schedule.ranks[chunk % 2].push_back(Action::Backward(chunk, 0));
  schedule = Flush(std::move(schedule));
  ctx.Text("schedule", FormatSchedule(schedule));
  bool refused = false;
  try {
    Flush(schedule);
  } catch (const ScheduleError&) {
    refused = true;
  }
  ctx.Text("again", refused ? "refused" : "taken");
}

SHARDLAB_PLAIN_BODY(balance) {
  const auto& asked = ctx.params().at("asked");
  for (size_t i = 0; i < asked.size(); ++i) {
    std::vector<int> sizes;
    try {
      sizes = Balance(asked[i].at("costs").get<std::vector<double>>(), asked[i].at("parts").get<int>());
    } catch (const ContractError&) {
      sizes = {-1};
    }
    ctx.Integers("balance " + std::to_string(i), std::vector<int64_t>(sizes.begin(), sizes.end()));
  }
}

}  // namespace shardlab::grade
