#include <algorithm>

#include <fmt/format.h>
#include <torch/torch.h>

#include "oracle.hpp"
#include "schedule_checks.hpp"

// Parts pipedream, 2bw and wpipe: updates without a flush, equal to their sequential definitions.

namespace shardlab::grade {
namespace {

std::vector<int64_t> Batches(int updates, int64_t samples) {
  return std::vector<int64_t>(static_cast<size_t>(updates), samples);
}

// What the ranks held while they trained.
void ExpectVersions(CaseContext& t, const Run& run, const std::vector<int>& most) {
  for (int rank = 0; rank < t.ranks(); ++rank) {
    t.ExpectCost(fmt::format("weight versions that rank {} holds of a chunk at most", rank),
                 run.Number(rank, "versions"), most[static_cast<size_t>(rank)], "versions");
  }
}

}  // namespace

// ------------------------------------------------------------------------------------------------ pipedream

SHARDLAB_CASE(pipedream, training, kValue, {2, 3, 4}) {
  Plan plan = PlanFor(t, "cnn-bn", "pipedream", 1, Batches(9, 3));
  plan.learning_rate = 0.05;
  ExpectTraining(t, plan, DrawData(t, plan));
}

SHARDLAB_CASE(pipedream, training_with_vertical_sync, kValue, {3}) {
  // Forwards on an older version than the newest: its running statistics are the newest's, too.
  Plan plan = PlanFor(t, "cnn-bn", "pipedream-vsync", 1, Batches(9, 3));
  plan.learning_rate = 0.05;
  ExpectTraining(t, plan, DrawData(t, plan));
}

SHARDLAB_CASE(pipedream, versions_by_themselves, kValue, {1}) {
  RunSpec spec;
  spec.body = "versions";
  const Run run = t.Launch(spec);
  // SGD with momentum 0.5: v1 = .25, w1 = .75; v2 = .125 + .75 = .875, w2 = -.125; v3 = .4375 + 1, w3 = w2 - v3 / 2.
  t.ExpectClose(run, 0, "values",
                at::tensor({1.0, 0.75, 2.0, 0.75, -0.125, 2.0, -0.84375, 1.0, 1.0, -0.84375, 0.0}, at::kDouble),
                {"MakeWeightVersions: w0 and w1 after the first update, how many are held; w1 and w2 after the second "
                 "(of gradients on both), how many; w3 after a third in place at half the rate, how many; whether a "
                 "released version is refused; the newest after Restart, and its number"});
}

SHARDLAB_CASE(pipedream, gradients_of_delayed_updates, kGradient, {3}) {
  const Plan plan = PlanFor(t, "probe", "pipedream", 1, Batches(4, 3));
  ExpectTraining(t, plan, DrawData(t, plan));
}

SHARDLAB_CASE(pipedream, versions_held, kCost, {4}) {
  std::vector<AskedSchedule> asked;
  for (const int P : {2, 3, 4}) asked.push_back({"pipedream", P, 1, 1, 12});
  ExpectFootprints(t, asked, OfPipeDream);
  const Plan plan = PlanFor(t, "probe", "pipedream", 1, Batches(10, 2));
  ExpectVersions(t, ExpectTraining(t, plan, DrawData(t, plan)), {4, 3, 2, 1});
}

SHARDLAB_CASE(pipedream, momentum_and_adam, kRobustness, {3}) {
  Plan plan = PlanFor(t, "probe", "pipedream", 1, Batches(8, 3));
  plan.momentum = 0.9;
  plan.learning_rate = 0.03;
  ExpectTraining(t, plan, DrawData(t, plan));
  plan.momentum = 0;
  plan.adam = true;
  ExpectTraining(t, plan, DrawData(t, plan));
}

SHARDLAB_CASE(pipedream, fewer_updates_than_stages, kRobustness, {4}) {
  const Plan plan = PlanFor(t, "probe", "pipedream", 1, Batches(2, 3));
  ExpectTraining(t, plan, DrawData(t, plan));
}

// ------------------------------------------------------------------------------------------------ 2bw

SHARDLAB_CASE(2bw, training, kValue, {2, 4}) {
  Plan plan = PlanFor(t, "cnn-bn", "2bw", t.ranks(), Batches(5, 2 * t.ranks() + 1));
  plan.learning_rate = 0.05;
  plan.momentum = 0.5;
  ExpectTraining(t, plan, DrawData(t, plan));
}

SHARDLAB_CASE(2bw, gradients_of_delayed_updates, kGradient, {3}) {
  const Plan plan = PlanFor(t, "probe", "2bw", 4, Batches(3, 9));
  ExpectTraining(t, plan, DrawData(t, plan));
}

SHARDLAB_CASE(2bw, two_versions_whatever_the_depth, kCost, {4}) {
  ExpectFootprints(t, {{"2bw", 2, 2, 1, 4}, {"2bw", 3, 4, 1, 4}, {"2bw", 5, 5, 1, 4}}, OfTwoBuffered);
  const Plan plan = PlanFor(t, "probe", "2bw", 4, Batches(4, 4));
  ExpectVersions(t, ExpectTraining(t, plan, DrawData(t, plan)), {2, 2, 2, 2});
}

SHARDLAB_CASE(2bw, adam_and_late_messages, kRobustness, {3}) {
  FaultSpec faults;
  faults.jitter_s = 0.002;
  faults.seed = t.seed();
  Plan plan = PlanFor(t, "probe", "2bw", 3, Batches(4, 7));
  plan.adam = true;
  plan.learning_rate = 0.01;
  ExpectTraining(t, plan, DrawData(t, plan), faults);
}

// ------------------------------------------------------------------------------------------------ wpipe

SHARDLAB_CASE(wpipe, training, kValue, {2, 3}) {
  Plan plan = PlanFor(t, "cnn-bn", "wpipe", t.ranks(), Batches(5, 2 * t.ranks() + 1), 2);
  plan.learning_rate = 0.05;
  plan.momentum = 0.5;
  ExpectTraining(t, plan, DrawData(t, plan));
}

SHARDLAB_CASE(wpipe, gradients_of_half_delayed_updates, kGradient, {4}) {
  const Plan plan = PlanFor(t, "probe", "wpipe", 4, Batches(3, 9), 2);
  ExpectTraining(t, plan, DrawData(t, plan));
}

SHARDLAB_CASE(wpipe, one_and_a_half_models, kCost, {4}) {
  ExpectFootprints(t, {{"wpipe", 2, 2, 2, 4}, {"wpipe", 3, 3, 2, 4}, {"wpipe", 4, 4, 2, 4}}, OfWPipe);
  const Plan plan = PlanFor(t, "probe", "wpipe", 4, Batches(4, 4), 2);
  ExpectVersions(t, ExpectTraining(t, plan, DrawData(t, plan)), {2, 2, 2, 2});
}

SHARDLAB_CASE(wpipe, several_blocks_an_update, kRobustness, {2}) {
  Plan plan = PlanFor(t, "probe", "wpipe", 4, Batches(3, 9), 2);
  plan.adam = true;
  plan.learning_rate = 0.01;
  ExpectTraining(t, plan, DrawData(t, plan));
}

}  // namespace shardlab::grade
