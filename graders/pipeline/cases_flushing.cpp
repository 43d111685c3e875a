#include <algorithm>

#include <fmt/format.h>
#include <torch/torch.h>

#include "oracle.hpp"
#include "schedule_checks.hpp"

// Parts recompute, 1f1b, interleaved and zero_bubble: other schedules, the same training.

namespace shardlab::grade {
namespace {

std::vector<AskedSchedule> Linear(const std::string& name, const std::vector<int>& stages,
                                  const std::vector<int>& pieces) {
  std::vector<AskedSchedule> asked;
  for (const int P : stages) {
    for (const int m : pieces) asked.push_back({name, P, m});
  }
  return asked;
}

Figures OfOneFOneB(const AskedSchedule& a, double tf, double tb) {
  Figures figures{(a.microbatches + a.ranks - 1) * (tf + tb), {}, {}, {}};
  for (int s = 0; s < a.ranks; ++s) figures.live.push_back(std::min(a.microbatches, a.ranks - s));
  return figures;
}

Figures OfInterleaved(const AskedSchedule& a, double tf, double tb) {
  const int P = a.ranks, v = a.chunks, m = a.microbatches;
  Figures figures{m * (tf + tb) + (P - 1) * (tf + tb) / v, {}, {}, {}};
  for (int s = 0; s < P; ++s) figures.live.push_back(std::min(m * v, 2 * (P - s - 1) + (v - 1) * P + 1));
  return figures;
}

Figures OfH1(const AskedSchedule& a, double tf, double tb) {
  const double half = tb / 2;  // TB and TW
  Figures figures{a.microbatches * (tf + tb) + (a.ranks - 1) * (half + std::max(tf - half, 0.0)), {}, {}, {}};
  figures.live.assign(static_cast<size_t>(a.ranks), std::min(a.microbatches, a.ranks));
  return figures;
}

Figures OfH2(const AskedSchedule& a, double, double) {
  Figures figures;
  figures.live.assign(static_cast<size_t>(a.ranks), 2 * a.ranks - 1);
  figures.gaps.assign(static_cast<size_t>(a.ranks), 0.0);
  return figures;
}

std::vector<AskedSchedule> InterleavedSizes() {
  return {{"interleaved", 2, 2, 2}, {"interleaved", 2, 6, 3}, {"interleaved", 3, 3, 2},
          {"interleaved", 3, 9, 4}, {"interleaved", 4, 8, 2}, {"interleaved", 5, 10, 3}};
}

}  // namespace

// ------------------------------------------------------------------------------------------------ recompute

SHARDLAB_CASE(recompute, three_modes, kValue, {2, 4}) {
  for (const char* mode : {"always", "except_last", "never"}) {
    Plan plan = PlanFor(t, "transformer-2-8", "gpipe", 3, {7, 7});
    plan.recompute = mode;
    ExpectTraining(t, plan, DrawData(t, plan));
  }
}

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
    t.ExpectEqual(run, 0, "got " + std::to_string(i), run.Output(0, "expected " + std::to_string(i)),
                  {fmt::format("{}, with recomputation against without", what[i])});
  }
}

SHARDLAB_CASE(recompute, gradients, kGradient, {2}) {
  Plan plan = PlanFor(t, "cnn-bn", "gpipe", 3, {7});
  plan.recompute = "always";
  ExpectGradients(t, plan, DrawData(t, plan));
}

SHARDLAB_CASE(recompute, forwards_and_what_is_kept, kCost, {2}) {
  const int m = 5;
  for (const auto& [mode, calls, peak] : std::vector<std::tuple<std::string, int, int>>{
           {"never", m, m}, {"except_last", 2 * m - 1, 2}, {"always", 2 * m, 1}}) {
    Plan plan = PlanFor(t, "probe", "gpipe", m, {10});
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
  Plan plan = PlanFor(t, "probe", "gpipe", 3, {6});
  plan.recompute = "always";
  plan.evaluate = 6;
  const Run run = ExpectTraining(t, plan, DrawData(t, plan));
  t.Expect(run.Number(0, "forwards") == 3 * 3 * plan.balance[0],
           fmt::format("a layer runs 2 x 3 times in training and 3 times in evaluation; here it ran {:g} times",
                       run.Number(0, "forwards") / plan.balance[0]));
}

SHARDLAB_CASE(recompute, running_statistics_are_counted_once, kRobustness, {2}) {
  for (const bool deferred : {false, true}) {
    Plan plan = PlanFor(t, "cnn-bn", "gpipe", 3, {8, 7});
    plan.recompute = "except_last";
    plan.deferred = deferred;
    ExpectTraining(t, plan, DrawData(t, plan));
  }
}

// ------------------------------------------------------------------------------------------------ 1f1b

SHARDLAB_CASE(1f1b, lists, kValue, {1}) { ExpectMakespans(t, Linear("1f1b", {1, 2, 3, 5}, {1, 2, 4, 9}), OfOneFOneB); }

SHARDLAB_CASE(1f1b, training, kValue, {2, 4}) {
  const Plan plan = PlanFor(t, "cnn-bn", "1f1b", 6, {13, 13});
  ExpectTraining(t, plan, DrawData(t, plan));
}

SHARDLAB_CASE(1f1b, gradients, kGradient, {3}) {
  const Plan plan = PlanFor(t, "mlp-ln", "1f1b", 5, {11});
  ExpectGradients(t, plan, DrawData(t, plan));
}

SHARDLAB_CASE(1f1b, what_the_lists_keep, kCost, {1}) {
  ExpectFootprints(t, Linear("1f1b", {1, 2, 3, 5}, {1, 2, 4, 9}), OfOneFOneB);
  ExpectFootprints(t, {{"1f1b", 4, 8}, {"1f1b", 4, 1000}}, OfOneFOneB);
}

SHARDLAB_CASE(1f1b, a_thousand_micro_batches_in_the_memory_of_eight, kCost, {4}) {
  Plan plan = PlanFor(t, "probe", "1f1b", 1000, {4000});
  plan.layers = 8;
  plan.width = 48;
  plan.BalanceEvenly();
  const Run run = t.Launch(SpecOf("memory", plan, DrawData(t, plan)));
  for (int rank = 0; rank < 4; ++rank) {
    t.ExpectCost(fmt::format("micro-batches of 1000 that are alive at once on rank {}: P - s", rank),
                 run.Number(rank, "many peak") / 2, 4 - rank, "micro-batches");
    t.ExpectCost(fmt::format("micro-batches of 8 that are alive at once on rank {}: P - s", rank),
                 run.Number(rank, "few peak") / 2, 4 - rank, "micro-batches");
    const double few = run.Number(rank, "few bytes");
    t.ExpectAtMost(fmt::format("peak bytes of rank {} with 1000 micro-batches, against {:g} with 8", rank, few),
                   run.Number(rank, "many bytes"), std::max(few * 1.02, few + (64 << 10)), "bytes");
    // The cap under which the 1000 ran is one that GPipe breaks with 64.
    t.Expect(run.Number(rank, "gpipe bytes") > few + (64 << 10),
             fmt::format("gpipe with 64 micro-batches takes {:g} bytes on rank {}: it must keep all of them",
                         run.Number(rank, "gpipe bytes"), rank));
  }
}

SHARDLAB_CASE(1f1b, fewer_micro_batches_than_stages, kRobustness, {4}) {
  for (const int m : {1, 2, 3}) {
    const Plan plan = PlanFor(t, "probe", "1f1b", m, {7});
    ExpectTraining(t, plan, DrawData(t, plan));
  }
}

SHARDLAB_CASE(1f1b, late_messages, kRobustness, {3}) {
  FaultSpec faults;
  faults.jitter_s = 0.003;
  faults.seed = t.seed();
  const Plan plan = PlanFor(t, "probe", "1f1b", 5, {11, 11});
  ExpectTraining(t, plan, DrawData(t, plan), faults);
}

// ------------------------------------------------------------------------------------------------ interleaved

SHARDLAB_CASE(interleaved, lists, kValue, {1}) { ExpectMakespans(t, InterleavedSizes(), OfInterleaved); }

SHARDLAB_CASE(interleaved, training, kValue, {2, 3}) {
  const Plan plan = PlanFor(t, "cnn-bn", "interleaved", 2 * t.ranks(), {13, 13}, 2);
  ExpectTraining(t, plan, DrawData(t, plan));
}

SHARDLAB_CASE(interleaved, gradients, kGradient, {2}) {
  const Plan plan = PlanFor(t, "probe", "interleaved", 4, {9}, 3);
  ExpectGradients(t, plan, DrawData(t, plan));
}

SHARDLAB_CASE(interleaved, what_the_lists_keep, kCost, {1}) { ExpectFootprints(t, InterleavedSizes(), OfInterleaved); }

SHARDLAB_CASE(interleaved, messages_of_a_step, kCost, {2, 4}) {
  const Plan plan = PlanFor(t, "probe", "interleaved", t.ranks(), {8, 8}, 2);
  const Run run = ExpectTraining(t, plan, DrawData(t, plan));
  t.ExpectCost("messages of all ranks in a step: 2m(Pv-1)",
               static_cast<double>(TotalTraffic(run, t.ranks(), "step 1", "end").messages),
               2 * t.ranks() * (t.ranks() * 2 - 1), "messages");
}

SHARDLAB_CASE(interleaved, numbers_that_do_not_fit, kRobustness, {1}) {
  ExpectRefused(t, {{"interleaved", 2, 3, 2}, {"interleaved", 4, 6, 2}, {"interleaved", 3, 1, 2}});
}

SHARDLAB_CASE(interleaved, one_rank_and_uneven_chunks, kRobustness, {1}) {
  Plan plan = PlanFor(t, "probe", "interleaved", 3, {7}, 3);
  plan.layers = 6;
  plan.balance = {1, 3, 2};
  ExpectTraining(t, plan, DrawData(t, plan));
}

// ------------------------------------------------------------------------------------------------ zero_bubble

SHARDLAB_CASE(zero_bubble, lists_of_h1, kValue, {1}) {
  std::vector<AskedSchedule> asked;
  for (const int P : {1, 2, 3, 5}) {
    for (const int m : {P, P + 1, 2 * P + 3}) asked.push_back({"zb-h1", P, m});
  }
  ExpectMakespans(t, asked, OfH1);
}

SHARDLAB_CASE(zero_bubble, lists_of_h2, kValue, {1}) {
  std::vector<AskedSchedule> asked;
  for (const int P : {1, 2, 3, 5}) {
    for (const int m : {2 * P - 1, 2 * P, 3 * P + 2}) asked.push_back({"zb-h2", P, m});
  }
  ExpectMakespans(t, asked, OfH2);
}

SHARDLAB_CASE(zero_bubble, training, kValue, {2, 4}) {
  for (const char* schedule : {"zb-h1", "zb-h2"}) {
    Plan plan = PlanFor(t, "cnn-bn", schedule, 7, {15, 15});
    plan.halves = true;
    ExpectTraining(t, plan, DrawData(t, plan));
  }
}

SHARDLAB_CASE(zero_bubble, gradients, kGradient, {3}) {
  Plan plan = PlanFor(t, "transformer-2-8", "zb-h1", 4, {9});
  plan.halves = true;
  ExpectGradients(t, plan, DrawData(t, plan));
}

SHARDLAB_CASE(zero_bubble, nothing_is_computed_twice, kCost, {2}) {
  Plan plan = PlanFor(t, "probe", "zb-h1", 4, {8});
  plan.halves = true;
  const Run run = ExpectTraining(t, plan, DrawData(t, plan));
  const int layers = plan.balance[1];
  t.ExpectCost("gradients of a layer's weights, with 4 micro-batches", run.Number(1, "weights") / layers, 4, "calls");
  t.ExpectCost("gradients of a layer's input, with 4 micro-batches", run.Number(1, "backwards") / layers, 4, "calls");
  t.ExpectCost("forwards of a layer, with 4 micro-batches", run.Number(1, "forwards") / layers, 4, "calls");
}

SHARDLAB_CASE(zero_bubble, what_the_lists_keep, kCost, {1}) {
  ExpectFootprints(t, {{"zb-h1", 2, 4}, {"zb-h1", 3, 3}, {"zb-h1", 4, 9}}, OfH1);
  ExpectFootprints(t, {{"zb-h2", 2, 4}, {"zb-h2", 3, 5}, {"zb-h2", 4, 9}}, OfH2);
}

SHARDLAB_CASE(zero_bubble, few_micro_batches_and_late_messages, kRobustness, {3}) {
  FaultSpec faults;
  faults.jitter_s = 0.002;
  faults.seed = t.seed();
  for (const char* schedule : {"zb-h1", "zb-h2"}) {
    Plan plan = PlanFor(t, "probe", schedule, 2, {5});
    plan.halves = true;
    ExpectTraining(t, plan, DrawData(t, plan), faults);
  }
}

}  // namespace shardlab::grade
