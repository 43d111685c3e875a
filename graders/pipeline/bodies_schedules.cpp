#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "schedules.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/grade/body.hpp"
#include "shardlab/pipeline/balance.hpp"
#include "shardlab/pipeline/generators.hpp"
#include "shardlab/pipeline/passes.hpp"
#include "shardlab/pipeline/policies.hpp"
#include "shardlab/pipeline/text.hpp"

// Schedules, and what needs no tensor.

namespace shardlab::grade {

Schedule ComputationOf(const std::string& name, int ranks, int chunks, int microbatches, int updates) {
  const int all = microbatches * updates;
  if (name == "naive") return Naive(ranks, microbatches);
  if (name == "gpipe") return GPipe(ranks, microbatches);
  if (name == "1f1b") return OneFOneB(ranks, microbatches);
  if (name == "interleaved") return InterleavedOneFOneB(ranks, chunks, microbatches);
  if (name == "zb-h1") return ZeroBubbleH1(ranks, microbatches);
  if (name == "zb-h2") return ZeroBubbleH2(ranks, microbatches);
  if (name == "pipedream") return StashWeights(OneFOneB(ranks, all));
  if (name == "pipedream-vsync") return StashWeightsVerticalSync(OneFOneB(ranks, all));
  if (name == "2bw") return DoubleBufferWeights(OneFOneB(ranks, all), microbatches);
  if (name == "wpipe") return GroupWeights(WPipe(ranks, all), microbatches);
  throw ContractError("no such schedule: " + name);
}

Schedule ScheduleOf(const Plan& plan, int microbatches, int updates) {
  Schedule schedule = ComputationOf(plan.schedule, plan.ranks, plan.chunks, microbatches, updates);
  if (!plan.IsAsynchronous()) schedule = Flush(std::move(schedule));
  const shardlab::Recompute mode = plan.recompute == "always"        ? shardlab::Recompute::kAlways
                                   : plan.recompute == "except_last" ? shardlab::Recompute::kExceptLast
                                                                     : shardlab::Recompute::kNever;
  return AddCommunication(AddRecompute(schedule, mode, plan.IsAsynchronous() ? microbatches : 0));
}

namespace {

at::Tensor Bytes(const std::string& text) {
  return at::from_blob(const_cast<char*>(text.data()), {static_cast<int64_t>(text.size())}, at::kByte).clone();
}

}  // namespace

// The lists that are asked for, as text; or what was thrown.
SHARDLAB_BODY(schedules) {
  const auto& asked = ctx.params().at("asked");
  for (size_t i = 0; i < asked.size(); ++i) {
    const auto& one = asked[i];
    std::string text;
    try {
      Schedule schedule =
          ComputationOf(one.at("name"), one.at("ranks"), one.at("chunks"), one.at("microbatches"), one.at("updates"));
      if (one.at("flush").get<bool>()) schedule = Flush(std::move(schedule));
      text = FormatSchedule(schedule);
    } catch (const ScheduleError& error) {
      text = std::string("error: ") + error.what();
    }
    ctx.Output("schedule " + std::to_string(i), Bytes(text));
  }
}

SHARDLAB_BODY(balance) {
  const auto& asked = ctx.params().at("asked");
  for (size_t i = 0; i < asked.size(); ++i) {
    std::vector<int> sizes;
    try {
      sizes = Balance(asked[i].at("costs").get<std::vector<double>>(), asked[i].at("parts").get<int>());
    } catch (const ContractError&) {
      sizes = {-1};
    }
    ctx.Output("balance " + std::to_string(i), at::tensor(std::vector<int64_t>(sizes.begin(), sizes.end()), at::kLong));
  }
}

}  // namespace shardlab::grade
