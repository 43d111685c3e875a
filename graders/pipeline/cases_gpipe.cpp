#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <torch/torch.h>

#include "event_clock.hpp"
#include "kit/traffic.hpp"
#include "oracle.hpp"

// Part gpipe: the engine.

namespace shardlab::grade {
namespace {

constexpr char kNoOrder[] =
    "the order of a step cannot be followed: in it there are collectives, of some of the ranks, and a step has none";

}  // namespace

SHARDLAB_CASE(gpipe, losses_of_a_pipeline, kValue, {1, 2, 4}) {
  for (const char* schedule : {"naive", "gpipe"}) {
    const TrainingPlan plan = PlanFor(t, "probe", schedule, 4, {8, 8, 8});
    ExpectTraining(t, plan, DrawData(t, plan));
  }
}

SHARDLAB_CASE(gpipe, gradients_of_a_pipeline, kGradient, {2, 3, 4}) {
  const TrainingPlan plan = PlanFor(t, "cnn", "gpipe", 4, {8});
  ExpectGradients(t, plan, DrawData(t, plan));
}

// Judged by the order of what the ranks did (event_clock.hpp), which other programs on the machine cannot change.
SHARDLAB_CASE(gpipe, really_parallel, kCost, {4}) {
  TrainingPlan plan = PlanFor(t, "probe", "gpipe", 4, {4});
  plan.layers = 4;
  plan.BalanceEvenly();
  RunSpec spec = SpecOf("order_of_a_step", plan, DrawData(t, plan));
  spec.params["followed"] = {"naive", "gpipe"};
  const Run run = t.Launch(spec);
  const double naive = StepTime(run, "begin naive", "end naive");
  const double gpipe = StepTime(run, "begin gpipe", "end gpipe");
  t.Expect(naive > 0 && gpipe > 0, kNoOrder);
  t.ExpectAtMost(
      fmt::format("a step of gpipe against one of naive, by the order of what the ranks did, a forward taking "
                  "1 and a backward 2: {:g} against {:g}",
                  gpipe, naive),
      100 * gpipe / naive, 60, "%");
}

// Every receive is done at least so long after it was posted: whoever posts it when the tensor is needed waits each
// time, whoever posts it a computation ahead waits for the first ones only.
SHARDLAB_CASE(gpipe, messages_travel_while_ranks_compute, kCost, {2}) {
  constexpr int m = 8;
  constexpr double kDelay = 0.8;  // of a forward
  TrainingPlan plan = PlanFor(t, "probe", "gpipe", m, {m});
  plan.layers = 2;
  plan.BalanceEvenly();
  RunSpec spec = SpecOf("order_of_a_step", plan, DrawData(t, plan));
  spec.params["followed"] = {"gpipe"};
  const Run run = t.Launch(spec);
  EventCosts late;
  late.receive_delay = kDelay;
  const double without = StepTime(run, "begin gpipe", "end gpipe");
  const double with = StepTime(run, "begin gpipe", "end gpipe", late);
  t.Expect(without > 0, kNoOrder);
  // Rank 1 receives m inputs while it goes forward, and rank 0 waits for the last gradient: these m + 1 are on the
  // longest path when none of them travels during a computation; the first input and the last gradient always are.
  constexpr double kLate = (m + 1) * kDelay;
  t.ExpectAtMost(
      fmt::format(
          "of the {:g} that receives of {:g} add to a step when nothing is computed meanwhile, it takes longer "
          "by, in the time that a forward takes ({:g} in place of {:g}; post a receive where the list has RECV, "
          "wait where it is used)",
          kLate, kDelay, with, without),
      std::round(100 * (with - without) / kLate), 60, "%");
}

SHARDLAB_CASE(gpipe, messages_of_a_step, kCost, {2, 4}) {
  TrainingPlan plan = PlanFor(t, "probe", "gpipe", 4, {10, 10});
  plan.width = 6;
  const Run run = ExpectTraining(t, plan, DrawData(t, plan));
  // The first step tells the shapes; from the second on there are messages of tensors only.
  const Traffic traffic = TotalTraffic(run, "step 1", "end");
  t.ExpectCost("messages of all ranks in a step: 2m(P-1)", static_cast<double>(traffic.messages),
               2 * 4 * (t.ranks() - 1), "messages");
  t.ExpectCost("bytes of all ranks in a step: each boundary both ways", static_cast<double>(traffic.bytes),
               2 * (t.ranks() - 1) * 10 * 6 * 8, "bytes");
  t.ExpectCost("collectives in a step", static_cast<double>(traffic.collectives.size()), 0, "collectives");
}

SHARDLAB_CASE(gpipe, nothing_is_left_after_a_step, kCost, {2}) {
  const TrainingPlan plan = PlanFor(t, "probe", "gpipe", 3, {6, 6});
  const Run run = ExpectTraining(t, plan, DrawData(t, plan));
  for (int rank = 0; rank < t.ranks(); ++rank) {
    t.ExpectCost(fmt::format("graphs still alive on rank {} after the last step", rank), run.Number(rank, "live"), 0,
                 "graphs");
    t.ExpectCost(fmt::format("graphs alive at once on rank {}: m of each of its layers", rank),
                 run.Number(rank, "peak"), 3.0 * plan.balance[static_cast<size_t>(rank)], "graphs");
  }
}

SHARDLAB_CASE(gpipe, batches_that_do_not_divide, kRobustness, {2, 3}) {
  const TrainingPlan plan =
      PlanFor(t, "mlp", "gpipe", 4, {10, 7, 3, 1});  // the last ones have fewer samples than micro-batches
  ExpectTraining(t, plan, DrawData(t, plan));
}

SHARDLAB_CASE(gpipe, uneven_stages_and_late_messages, kRobustness, {3}) {
  TrainingPlan plan = PlanFor(t, "mlp-ln", "gpipe", 5, {11, 11});
  plan.balance = {1, 4, 2};
  const FaultSpec faults = LateMessages(t, 0.003);
  ExpectTraining(t, plan, DrawData(t, plan), faults);
}

}  // namespace shardlab::grade
