#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/format.h>
#include <torch/torch.h>

#include "kit/traffic.hpp"
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
  TrainingPlan plan = PlanFor(t, "cnn-bn", "pipedream", 1, Batches(9, 3));
  plan.learning_rate = 0.05;
  ExpectTraining(t, plan, DrawData(t, plan));
}

SHARDLAB_CASE(pipedream, training_with_vertical_sync, kValue, {3}) {
  // Forwards on an older version than the newest: its running statistics are the newest's, too.
  TrainingPlan plan = PlanFor(t, "cnn-bn", "pipedream-vsync", 1, Batches(9, 3));
  plan.learning_rate = 0.05;
  ExpectTraining(t, plan, DrawData(t, plan));
}

SHARDLAB_CASE(pipedream, versions_by_themselves, kValue, {1}) {
  RunSpec spec;
  spec.body = "versions";
  const Run run = t.Launch(spec);
  // SGD with momentum 0.5: v1 = .25, w1 = .75; v2 = .125 + .75 = .875, w2 = -.125; v3 = .4375 + 1, w3 = w2 - v3 / 2.
  struct Step {
    const char* name;
    double expected;
    const char* what;
    std::map<double, const char*> means;  // what another number means
  };
  const std::vector<Step> steps = {
      {"w0 in use", 1, "w0, still in use, after the update that made w1", {{0.75, "it is changed in place"}}},
      {"w1", 0.75, "w1 = w0 - 0.25", {{1, "the optimizer did not step on the copy"}, {0, "it is a fresh module"}}},
      {"held of 0 1", 2, "how many versions are held, 0 and 1", {}},
      {"w1 in use", 0.75, "w1, still in use, after the update that made w2", {{-0.125, "it is changed in place"}}},
      {"w2",
       -0.125,
       "w2 = w1 - (0.5 * 0.25 + 0.25 + 0.5): momentum, the gradient on version 0, the gradient on version 1",
       {{0.125, "the gradient on the released version 0 is missing"},
        {0.375, "the gradient on version 1 is missing"},
        {0, "the optimizer's momentum is missing"},
        {0.25, "the optimizer's momentum and the gradient on the released version 0 are missing"}}},
      {"held of 1 2", 2, "how many versions are held, 1 and 2: version 0 was released", {}},
      {"w3",
       -0.84375,
       "w3 = w2 - 0.5 * (0.5 * 0.875 + 1): half the rate, momentum, and the gradient on version 2",
       {{-1.5625, "the learning rate's factor is missing"},
        {-0.625, "the optimizer's momentum is missing"},
        {-0.34375, "the gradient is missing"}}},
      {"held of 3", 1, "how many versions are held when all but the newest are released", {}},
      {"refused", 1, "whether At throws ContractError for a released version", {}},
      {"restarted",
       -1.5625,
       "w4 = w3 - 0.5 * 1.4375, of no gradient and the momentum, called 0 after Restart",
       {{-0.84375, "it is w3, which is not the newest"}}},
      {"newest", 0, "the number of the newest version after Restart", {}},
      {"held after", 1, "how many versions are held after Restart, which drops all but the newest", {}}};
  for (const Step& step : steps) {
    const double got = run.Number(0, step.name);
    const auto meaning = step.means.find(got);
    t.Expect(std::abs(got - step.expected) < 1e-9,
             fmt::format("MakeWeightVersions on one weight, momentum 0.5: {} is {:g}, and must be {:g}{}{}", step.what,
                         got, step.expected, meaning == step.means.end() ? "" : ": ",
                         meaning == step.means.end() ? "" : meaning->second));
  }
}

SHARDLAB_CASE(pipedream, gradients_of_delayed_updates, kGradient, {3}) {
  const TrainingPlan plan = PlanFor(t, "probe", "pipedream", 1, Batches(4, 3));
  ExpectTraining(t, plan, DrawData(t, plan));
}

SHARDLAB_CASE(pipedream, versions_held, kCost, {4}) {
  std::vector<AskedSchedule> asked;
  for (const int P : {2, 3, 4}) asked.push_back({"pipedream", P, 1, 1, 12});
  ExpectFootprints(t, asked, OfPipeDream);
  const TrainingPlan plan = PlanFor(t, "probe", "pipedream", 1, Batches(10, 2));
  ExpectVersions(t, ExpectTraining(t, plan, DrawData(t, plan)), {4, 3, 2, 1});
}

SHARDLAB_CASE(pipedream, momentum_and_adam, kRobustness, {3}) {
  TrainingPlan plan = PlanFor(t, "probe", "pipedream", 1, Batches(8, 3));
  plan.momentum = 0.9;
  plan.learning_rate = 0.03;
  ExpectTraining(t, plan, DrawData(t, plan));
  plan.momentum = 0;
  plan.adam = true;
  ExpectTraining(t, plan, DrawData(t, plan));
}

SHARDLAB_CASE(pipedream, fewer_updates_than_stages, kRobustness, {4}) {
  const TrainingPlan plan = PlanFor(t, "probe", "pipedream", 1, Batches(2, 3));
  ExpectTraining(t, plan, DrawData(t, plan));
}

// ------------------------------------------------------------------------------------------------ 2bw

SHARDLAB_CASE(2bw, training, kValue, {2, 4}) {
  TrainingPlan plan = PlanFor(t, "cnn-bn", "2bw", t.ranks(), Batches(5, 2 * t.ranks() + 1));
  plan.learning_rate = 0.05;
  plan.momentum = 0.5;
  ExpectTraining(t, plan, DrawData(t, plan));
}

SHARDLAB_CASE(2bw, gradients_of_delayed_updates, kGradient, {3}) {
  const TrainingPlan plan = PlanFor(t, "probe", "2bw", 4, Batches(3, 9));
  ExpectTraining(t, plan, DrawData(t, plan));
}

SHARDLAB_CASE(2bw, two_versions_whatever_the_depth, kCost, {4}) {
  ExpectFootprints(t, {{"2bw", 2, 2, 1, 4}, {"2bw", 3, 4, 1, 4}, {"2bw", 5, 5, 1, 4}}, OfTwoBuffered);
  const TrainingPlan plan = PlanFor(t, "probe", "2bw", 4, Batches(4, 4));
  ExpectVersions(t, ExpectTraining(t, plan, DrawData(t, plan)), {2, 2, 2, 2});
}

SHARDLAB_CASE(2bw, adam_and_late_messages, kRobustness, {3}) {
  const FaultSpec faults = LateMessages(t, 0.002);
  TrainingPlan plan = PlanFor(t, "probe", "2bw", 3, Batches(4, 7));
  plan.adam = true;
  plan.learning_rate = 0.01;
  ExpectTraining(t, plan, DrawData(t, plan), faults);
}

// ------------------------------------------------------------------------------------------------ wpipe

SHARDLAB_CASE(wpipe, training, kValue, {2, 3}) {
  TrainingPlan plan = PlanFor(t, "cnn-bn", "wpipe", t.ranks(), Batches(5, 2 * t.ranks() + 1), 2);
  plan.learning_rate = 0.05;
  plan.momentum = 0.5;
  ExpectTraining(t, plan, DrawData(t, plan));
}

SHARDLAB_CASE(wpipe, gradients_of_half_delayed_updates, kGradient, {4}) {
  const TrainingPlan plan = PlanFor(t, "probe", "wpipe", 4, Batches(3, 9), 2);
  ExpectTraining(t, plan, DrawData(t, plan));
}

SHARDLAB_CASE(wpipe, one_and_a_half_models, kCost, {4}) {
  ExpectFootprints(t, {{"wpipe", 2, 2, 2, 4}, {"wpipe", 3, 3, 2, 4}, {"wpipe", 4, 4, 2, 4}}, OfWPipe);
  const TrainingPlan plan = PlanFor(t, "probe", "wpipe", 4, Batches(4, 4), 2);
  ExpectVersions(t, ExpectTraining(t, plan, DrawData(t, plan)), {2, 2, 2, 2});
}

SHARDLAB_CASE(wpipe, several_blocks_an_update, kRobustness, {2}) {
  TrainingPlan plan = PlanFor(t, "probe", "wpipe", 4, Batches(3, 9), 2);
  plan.adam = true;
  plan.learning_rate = 0.01;
  ExpectTraining(t, plan, DrawData(t, plan));
}

}  // namespace shardlab::grade
