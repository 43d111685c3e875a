#include <cstdint>
#include <functional>
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

// Whether a policy refuses lists that it cannot work on, made here: a 1 for each that it refuses with ScheduleError.
SHARDLAB_PLAIN_BODY(policy_refusals) {
  // Micro-batches one after the other, through all chunks and back.
  const auto one_by_one = [](const Layout& layout, int microbatches) {
    Schedule schedule("one by one", layout, microbatches);
    for (int i = 0; i < microbatches; ++i) {
      for (int chunk = 0; chunk < layout.chunks(); ++chunk) {
        schedule.ranks[static_cast<size_t>(layout.chunk(chunk).rank)].push_back(Action::Forward(chunk, i));
      }
      for (int chunk = layout.chunks() - 1; chunk >= 0; --chunk) {
        schedule.ranks[static_cast<size_t>(layout.chunk(chunk).rank)].push_back(Action::Backward(chunk, i));
      }
    }
    return schedule;
  };
  const auto refused = [&](const std::function<Schedule()>& make) -> int64_t {
    try {
      make();
    } catch (const ScheduleError&) {
      return 1;
    }
    return 0;
  };
  const auto stepped = [&](const Layout& layout) {
    Schedule schedule = one_by_one(layout, 2);
    for (int chunk = 0; chunk < layout.chunks(); ++chunk) {
      schedule.ranks[static_cast<size_t>(layout.chunk(chunk).rank)].push_back(Action::Step(chunk, 1));
    }
    return schedule;
  };
  const auto policy = ctx.params().at("policy").get<std::string>();
  std::vector<int64_t> results;
  if (policy == "StashWeights") {
    results = {refused([&] { return StashWeights(stepped(Layout::Linear(1))); })};
  } else if (policy == "StashWeightsVerticalSync") {
    results = {refused([&] { return StashWeightsVerticalSync(stepped(Layout::Linear(1))); })};
  } else if (policy == "DoubleBufferWeights") {
    results = {refused([&] { return DoubleBufferWeights(stepped(Layout::Linear(1)), 1); }),
               refused([&] { return DoubleBufferWeights(one_by_one(Layout::Linear(2), 4), 1); }),
               refused([&] { return DoubleBufferWeights(one_by_one(Layout::Linear(2), 5), 2); })};
  } else {
    results = {refused([&] { return GroupWeights(stepped(Layout::Looped(1, 2)), 1); }),
               refused([&] { return GroupWeights(one_by_one(Layout::Linear(2), 2), 2); }),
               refused([&] { return GroupWeights(one_by_one(Layout::Looped(1, 3), 2), 1); }),
               refused([&] { return GroupWeights(one_by_one(Layout::Looped(2, 2), 6), 3); }),
               refused([&] { return GroupWeights(one_by_one(Layout::Looped(2, 2), 5), 2); })};
  }
  ctx.Integers("refused", results);
}

SHARDLAB_PLAIN_BODY(balance) {
  const auto& asked = ctx.params().at("asked");
  for (size_t i = 0; i < asked.size(); ++i) {
    std::vector<int> sizes;
    try {
      std::vector<double> costs;
      for (const auto& cost : asked[i].at("costs")) {
        costs.push_back(cost.is_string() ? std::stod(cost.get<std::string>()) : cost.get<double>());
      }
      sizes = Balance(costs, asked[i].at("parts").get<int>());
    } catch (const ContractError&) {
      sizes = {-1};
    }
    ctx.Integers("balance " + std::to_string(i), std::vector<int64_t>(sizes.begin(), sizes.end()));
  }
}

}  // namespace shardlab::grade
