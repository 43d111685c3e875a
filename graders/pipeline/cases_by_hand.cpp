#include <torch/torch.h>

#include <fmt/format.h>

#include "kit/traffic.hpp"
#include "oracle.hpp"

// Part by_hand: two ranks, a model cut in two, and nothing but messages.

namespace shardlab::grade {
namespace {

Run Steps(CaseContext& t, const TrainingPlan& plan, const PipelineData& data, bool transposes = false,
          const FaultSpec& faults = {}) {
  RunSpec spec = SpecOf("two_stages", plan, data);
  spec.params["transposes"] = transposes;
  spec.point_to_point_only = true;
  spec.faults = faults;
  return t.Launch(spec);
}

TrainingPlan TwoHalves(CaseContext& t, const std::vector<int64_t>& batches) {
  TrainingPlan plan = PlanFor(t, "mlp", "naive", 1, batches);
  plan.learning_rate = 0.05;
  return plan;
}

void ExpectLosses(CaseContext& t, const Run& run, const TrainingPlan& plan, const PipelineData& data) {
  const Trained reference = TrainReference(plan, data);
  Label label{fmt::format("the curve (the losses of {} steps)", reference.losses.size())};
  TrainingPlan wrong = plan;
  Definition keeps;
  keeps.mistakes.keeps_gradients = true;
  label.hypotheses = {
      MistakenRun(kGradientsPileUp, [=] {
        return MistakenRun::Outputs{{"losses", at::tensor(TrainReference(wrong, data, keeps).losses, at::kDouble)}};
      }).For("losses")};
  t.ExpectClose(run, 1, "losses", at::tensor(reference.losses, at::kDouble), label, 0,
                static_cast<double>(reference.losses.size()));
  for (const auto& [name, value] : reference.parameters) {
    const int rank = name < "fc3" ? 0 : 1;  // fc1, fc2 | fc3, fc4
    t.ExpectClose(run, rank, "param." + name, value, {fmt::format("the final parameter `{}`", name)}, 1,
                  static_cast<double>(reference.losses.size()));
  }
}

}  // namespace

SHARDLAB_CASE(by_hand, losses_of_three_steps, kValue, {2}) {
  const TrainingPlan plan = TwoHalves(t, {8, 8, 8});
  const PipelineData data = DrawData(t, plan);
  ExpectLosses(t, Steps(t, plan, data), plan, data);
}

SHARDLAB_CASE(by_hand, gradients_of_both_halves, kGradient, {2}) {
  TrainingPlan plan = TwoHalves(t, {8});
  plan.learning_rate = 1;
  const PipelineData data = DrawData(t, plan);
  const Run run = Steps(t, plan, data);
  for (const auto& [name, value] : TrainReference(plan, data).changes) {
    const int rank = name < "fc3" ? 0 : 1;
    Label label{fmt::format("the gradient (the change by one step of SGD) of `{}`", name)};
    label.hypotheses = {{rank == 0 ? "the gradient of the activation does not come back from rank 1"
                                   : "rank 1 does not go back from its loss",
                         [value = value] { return at::zeros_like(value); }}};
    t.ExpectClose(run, rank, "change." + name, value, label, 1e-2);
  }
}

SHARDLAB_CASE(by_hand, two_tensors_travel, kCost, {2}) {
  const TrainingPlan plan = TwoHalves(t, {8, 5});
  const PipelineData data = DrawData(t, plan);
  const Run run = Steps(t, plan, data);
  for (int rank = 0; rank < 2; ++rank) {
    const Traffic traffic = TrafficBetween(run, rank, "step 1", "end");
    t.ExpectCost(fmt::format("messages of rank {} a step: a tensor and what describes it", rank),
                 static_cast<double>(traffic.messages), 2, "messages");
    t.ExpectAtMost(fmt::format("bytes of rank {} a step: 5 samples of 16 numbers and what describes them", rank),
                   static_cast<double>(traffic.bytes), 5 * 16 * 8 + 256, "bytes");
  }
}

SHARDLAB_CASE(by_hand, late_messages_and_odd_batches, kRobustness, {2}) {
  const TrainingPlan plan = TwoHalves(t, {7, 1, 4});
  const PipelineData data = DrawData(t, plan);
  const FaultSpec faults = LateMessages(t, 0.003);
  ExpectLosses(t, Steps(t, plan, data, false, faults), plan, data);
}

SHARDLAB_CASE(by_hand, activations_in_any_order_in_memory, kRobustness, {2}) {
  TrainingPlan plan = TwoHalves(t, {6, 3});
  plan.momentum = 0.9;
  const PipelineData data = DrawData(t, plan);
  ExpectLosses(t, Steps(t, plan, data, true), plan, data);
}

SHARDLAB_CASE(by_hand, called_once_a_step, kRobustness, {2}) {
  const TrainingPlan plan = TwoHalves(t, {4, 3});
  const Run run = Steps(t, plan, DrawData(t, plan));
  for (int rank = 0; rank < 2; ++rank) {
    t.Expect(run.Number(rank, "calls") == 2,
             fmt::format("each half runs once in a step; that of rank {} ran {:g} times in 2 steps", rank,
                         run.Number(rank, "calls")));
    t.Expect(run.Number(rank, "data left alone") == 1,
             fmt::format("the {} of rank {} must be left as they are", rank == 0 ? "images" : "labels", rank));
  }
  const at::Tensor returned = run.Output(0, "losses");
  t.Expect(at::equal(returned, at::zeros_like(returned)),
           fmt::format("on rank 0, which does not see the loss, TwoStageStep returns 0; here it returned {:g}",
                       returned[0].item<double>()));
}

SHARDLAB_CASE(by_hand, refuses_other_numbers_of_ranks, kRobustness, {1, 3}) {
  RunSpec spec;
  spec.body = "two_stages_of_other_ranks";
  const Run run = t.Launch(spec);
  for (int rank = 0; rank < t.ranks(); ++rank) {
    t.Expect(
        run.Number(rank, "refused") == 1,
        fmt::format("rank {} of {} must be refused with ContractError: two stages need two ranks", rank, t.ranks()));
  }
}

}  // namespace shardlab::grade
