#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <torch/torch.h>

#include "kit/traffic.hpp"
#include "oracle.hpp"

// Parts recompute, 1f1b, interleaved and zero_bubble: other schedules, the same training.

namespace shardlab::grade {

// ------------------------------------------------------------------------------------------------ recompute

SHARDLAB_CASE(recompute, the_same_dropout_twice, kValue, {1}) {
  RunSpec spec;
  spec.body = "recompute_dropout";
  spec.params["seed"] = static_cast<int64_t>(t.seed() % 1000000);
  const Run run = t.Launch(spec);
  const char* what[] = {"the output of micro-batch 0",   "the output of micro-batch 1",
                        "the output of micro-batch 2",   "what is drawn after the first recomputation",
                        "the gradient of micro-batch 2", "what is drawn after the second recomputation",
                        "the gradient of micro-batch 1", "what is drawn after the third recomputation",
                        "the gradient of micro-batch 0"};
  for (size_t i = 0; i < 9; ++i) {
    const bool drawn = i == 3 || i == 5 || i == 7;
    t.ExpectEqual(run, 0, "got " + std::to_string(i), run.Output(0, "expected " + std::to_string(i)),
                  {fmt::format("{}, with recomputation against without{}", what[i],
                               drawn   ? " (RunAgain must leave the generators as it found them),"
                               : i > 3 ? " (RunAgain must draw what the first forward drew),"
                                       : "")});
  }
}

SHARDLAB_CASE(recompute, three_modes, kValue, {2, 4}) {
  for (const char* mode : {"always", "except_last", "never"}) {
    TrainingPlan plan = PlanFor(t, "transformer-2-8", "gpipe", 3, {7, 7});
    plan.recompute = mode;
    ExpectTraining(t, plan, DrawData(t, plan));
  }
}

SHARDLAB_CASE(recompute, gradients, kGradient, {2}) {
  TrainingPlan plan = PlanFor(t, "cnn-bn", "gpipe", 3, {7});
  plan.recompute = "always";
  ExpectGradients(t, plan, DrawData(t, plan));
}

SHARDLAB_CASE(recompute, forwards_and_what_is_kept, kCost, {2}) {
  const int m = 5;
  for (const auto& [mode, calls, peak] : std::vector<std::tuple<std::string, int, int>>{
           {"except_last", 2 * m - 1, 2}, {"always", 2 * m, 1}, {"never", m, m}}) {
    TrainingPlan plan = PlanFor(t, "probe", "gpipe", m, {10});
    plan.recompute = mode;
    const Run run = ExpectTraining(t, plan, DrawData(t, plan));
    const int layers = plan.balance[0];
    t.ExpectCost(fmt::format("forwards of a layer with {} micro-batches, recomputing {}", m, mode),
                 run.Number(0, "forwards") / layers, calls, "calls");
    t.ExpectAtMost(fmt::format("micro-batches with activations at once, recomputing {}", mode),
                   run.Number(0, "peak") / layers, peak, "micro-batches");
  }
}

SHARDLAB_CASE(recompute, evaluation_runs_once, kRobustness, {2}) {
  TrainingPlan plan = PlanFor(t, "probe", "gpipe", 3, {6});
  plan.recompute = "always";
  plan.evaluate = 6;
  const Run run = ExpectTraining(t, plan, DrawData(t, plan));
  t.Expect(run.Number(0, "forwards") == 3 * 3 * plan.balance[0],
           fmt::format("a layer runs 2 x 3 times in training and 3 times in evaluation; here it ran {:g} times",
                       run.Number(0, "forwards") / plan.balance[0]));
}

SHARDLAB_CASE(recompute, running_statistics_are_counted_once, kRobustness, {2}) {
  for (const bool deferred : {false, true}) {
    TrainingPlan plan = PlanFor(t, "cnn-bn", "gpipe", 3, {8, 7});
    plan.recompute = "except_last";
    plan.deferred = deferred;
    ExpectTraining(t, plan, DrawData(t, plan));
  }
}

// ------------------------------------------------------------------------------------------------ 1f1b

SHARDLAB_CASE(1f1b, training, kValue, {2, 4}) {
  const TrainingPlan plan = PlanFor(t, "cnn-bn", "1f1b", 6, {13, 13});
  ExpectTraining(t, plan, DrawData(t, plan));
}

SHARDLAB_CASE(1f1b, gradients, kGradient, {3}) {
  const TrainingPlan plan = PlanFor(t, "mlp-ln", "1f1b", 5, {11});
  ExpectGradients(t, plan, DrawData(t, plan));
}

namespace {

// How a rank's peak grows with the micro-batches of a step, and what that may be. Nothing where it does not.
std::string GrowthText(const Run& run, const TrainingPlan& plan, int rank) {
  const int64_t each = plan.batches[0] / plan.microbatches;  // samples
  const auto boundary = static_cast<double>(each * plan.width * 8);
  const double few = run.Number(rank, "few bytes"), more = run.Number(rank, "more bytes");
  const double graphs = (run.Number(rank, "more peak") - run.Number(rank, "few peak")) / 16;
  const double grows = (more - few) / 16;
  std::string what;
  if (graphs > 0) {
    what = ": the graphs of micro-batches whose backward is done are still alive (a loss that is kept as a tensor?)";
  }
  // What is kept stays for the next step, or is replaced there: the peaks with or without what was there before.
  const double others[] = {grows, (run.Number(rank, "more total") - run.Number(rank, "few total")) / 16};
  for (const double growth : others) {
    const double tensors = std::round(growth / boundary);
    if (!what.empty() || tensors < 1 || std::abs(growth - tensors * boundary) > 0.05 * boundary) continue;
    what = fmt::format(
        ": as much as {:g} boundary tensor{} [{}, {}], an output, an input or a gradient that nobody drops after its "
        "last use",
        tensors, tensors == 1 ? "" : "s", each, plan.width);
  }
  return fmt::format(
      "rank {} holds more than the {} micro-batches of its schedule: {:g} bytes more for every micro-batch of the step "
      "({:.0f} at the peak with 8 of them, {:.0f} with 24){}. In a step a tensor is dropped in its last use; look "
      "first "
      "at what the engine keeps",
      rank, plan.ranks - rank, grows, few, more, what);
}

}  // namespace

SHARDLAB_CASE(1f1b, a_thousand_micro_batches_in_the_memory_of_eight, kCost, {4}) {
  TrainingPlan plan = PlanFor(t, "probe", "1f1b", 1000, {4000});
  plan.layers = 8;
  plan.width = 48;
  plan.BalanceEvenly();
  constexpr int64_t kRoom = 64 << 10;  // beyond what 8 micro-batches take
  RunSpec spec = SpecOf("memory", plan, DrawData(t, plan));
  spec.params["room"] = kRoom;
  const Run run = t.Launch(spec);
  for (int rank = 0; rank < 4; ++rank) {
    t.Expect(run.Number(rank, "grows") == 0, GrowthText(run, plan, rank));
  }
  for (int rank = 0; rank < 4; ++rank) {
    t.ExpectCost(fmt::format("micro-batches of 1000 that are alive at once on rank {}: P - s", rank),
                 run.Number(rank, "many peak") / 2, 4 - rank, "micro-batches");
    t.ExpectCost(fmt::format("micro-batches of 8 that are alive at once on rank {}: P - s", rank),
                 run.Number(rank, "few peak") / 2, 4 - rank, "micro-batches");
    const double few = run.Number(rank, "few bytes");
    t.ExpectAtMost(fmt::format("peak bytes of rank {} with 1000 micro-batches, against {:g} with 8", rank, few),
                   run.Number(rank, "many bytes"), std::max(few * 1.02, few + kRoom), "bytes");
    // The cap under which the 1000 ran is one that GPipe breaks with 64.
    t.Expect(run.Number(rank, "gpipe bytes") > few + kRoom,
             fmt::format("gpipe with 64 micro-batches takes {:g} bytes on rank {}: it must keep all of them",
                         run.Number(rank, "gpipe bytes"), rank));
  }
}

SHARDLAB_CASE(1f1b, fewer_micro_batches_than_stages, kRobustness, {4}) {
  for (const int m : {1, 2, 3}) {
    const TrainingPlan plan = PlanFor(t, "probe", "1f1b", m, {7});
    ExpectTraining(t, plan, DrawData(t, plan));
  }
}

SHARDLAB_CASE(1f1b, late_messages, kRobustness, {3}) {
  const FaultSpec faults = LateMessages(t, 0.003);
  const TrainingPlan plan = PlanFor(t, "probe", "1f1b", 5, {11, 11});
  ExpectTraining(t, plan, DrawData(t, plan), faults);
}

// ------------------------------------------------------------------------------------------------ interleaved

SHARDLAB_CASE(interleaved, training, kValue, {2, 3}) {
  const TrainingPlan plan = PlanFor(t, "cnn-bn", "interleaved", 2 * t.ranks(), {13, 13}, 2);
  ExpectTraining(t, plan, DrawData(t, plan));
}

SHARDLAB_CASE(interleaved, gradients, kGradient, {2}) {
  const TrainingPlan plan = PlanFor(t, "probe", "interleaved", 4, {9}, 3);
  ExpectGradients(t, plan, DrawData(t, plan));
}

SHARDLAB_CASE(interleaved, messages_of_a_step, kCost, {2, 4}) {
  const TrainingPlan plan = PlanFor(t, "probe", "interleaved", t.ranks(), {8, 8}, 2);
  const Run run = ExpectTraining(t, plan, DrawData(t, plan));
  t.ExpectCost("messages of all ranks in a step: 2m(Pv-1)",
               static_cast<double>(TotalTraffic(run, "step 1", "end").messages), 2 * t.ranks() * (t.ranks() * 2 - 1),
               "messages");
}

SHARDLAB_CASE(interleaved, one_rank_and_uneven_chunks, kRobustness, {1}) {
  TrainingPlan plan = PlanFor(t, "probe", "interleaved", 3, {7}, 3);
  plan.layers = 6;
  plan.balance = {1, 3, 2};
  ExpectTraining(t, plan, DrawData(t, plan));
}

// ------------------------------------------------------------------------------------------------ zero_bubble

SHARDLAB_CASE(zero_bubble, training, kValue, {2, 4}) {
  for (const char* schedule : {"zb-h1", "zb-h2"}) {
    TrainingPlan plan = PlanFor(t, "cnn-bn", schedule, 7, {15, 15});
    plan.halves = true;
    ExpectTraining(t, plan, DrawData(t, plan));
  }
}

SHARDLAB_CASE(zero_bubble, gradients, kGradient, {3}) {
  TrainingPlan plan = PlanFor(t, "transformer-2-8", "zb-h1", 4, {9});
  plan.halves = true;
  ExpectGradients(t, plan, DrawData(t, plan));
}

SHARDLAB_CASE(zero_bubble, nothing_is_computed_twice, kCost, {2}) {
  TrainingPlan plan = PlanFor(t, "probe", "zb-h1", 4, {8});
  plan.halves = true;
  const Run run = ExpectTraining(t, plan, DrawData(t, plan));
  const int layers = plan.balance[1];
  t.ExpectCost("gradients of a layer's weights, with 4 micro-batches", run.Number(1, "weights") / layers, 4, "calls");
  t.ExpectCost("gradients of a layer's input, with 4 micro-batches", run.Number(1, "backwards") / layers, 4, "calls");
  t.ExpectCost("forwards of a layer, with 4 micro-batches", run.Number(1, "forwards") / layers, 4, "calls");
}

SHARDLAB_CASE(zero_bubble, few_micro_batches_and_late_messages, kRobustness, {3}) {
  const FaultSpec faults = LateMessages(t, 0.002);
  for (const char* schedule : {"zb-h1", "zb-h2"}) {
    TrainingPlan plan = PlanFor(t, "probe", schedule, 2, {5});
    plan.halves = true;
    ExpectTraining(t, plan, DrawData(t, plan), faults);
  }
}

}  // namespace shardlab::grade
