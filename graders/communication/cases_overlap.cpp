#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "data_parallel_mistakes.hpp"
#include "kit/parts.hpp"
#include "kit/traffic.hpp"

// Buckets that travel while backward runs.

namespace shardlab::grade {
namespace {

using Tensors = std::vector<at::Tensor>;

const std::vector<std::vector<int64_t>> kShapes = {{3, 2}, {5}, {1}, {4, 4}, {2}};

/// Runs overlap_values and compares every gradient with the mean over the ranks of the sum over the backwards.
Run ExpectMeans(CaseContext& t, const std::vector<std::vector<int64_t>>& order, int backwards, int steps,
                int64_t bucket_bytes, const std::string& where, double jitter_s = 0) {
  RunSpec spec;
  spec.body = "overlap_values";
  spec.faults = LateMessages(t, jitter_s);
  spec.params = {{"shapes", kShapes},
                 {"order", order},
                 {"backwards", backwards},
                 {"bucket_bytes", bucket_bytes},
                 {"steps", steps}};
  Tensors means;
  std::vector<Tensors> own(kShapes.size());   // a parameter and a rank: its gradient, of all backwards
  std::vector<Tensors> last(kShapes.size());  // of the last one
  for (size_t i = 0; i < kShapes.size(); ++i) {
    means.push_back(at::zeros(kShapes[i], at::kDouble));
    own[i] = t.PerRank([&](int) { return at::zeros(kShapes[i], at::kDouble); });
    last[i] = own[i];
    for (int backward = 0; backward < backwards; ++backward) {
      const Tensors c = t.PerRank([&](int) { return t.Integers(kShapes[i], at::kDouble) * t.ranks(); });
      spec.inputs[fmt::format("c{}_{}", backward, i)] = c;
      for (int rank = 0; rank < t.ranks(); ++rank) {
        const bool used = std::count(order[rank].begin(), order[rank].end(), static_cast<int64_t>(i)) > 0;
        if (!used) continue;
        means[i] = means[i] + c[rank] / t.ranks();
        own[i][rank] = own[i][rank] + c[rank];
        last[i][rank] = c[rank];
      }
    }
  }
  Run run = t.Launch(spec);
  for (size_t i = 0; i < kShapes.size(); ++i) {
    for (int rank = 0; rank < t.ranks(); ++rank) {
      Label label{fmt::format("the averaged gradient of parameter {}{}", i, where)};
      label.hypotheses = AverageMistakes(own[i], rank, "its bucket never travels");
      if (backwards > 1) {
        label.hypotheses.push_back(
            {"only the last backward's gradient is averaged: what was accumulated before is lost",
             [&] { return SumOf(last[i]) / t.ranks(); }});
        label.hypotheses.push_back({"only the last backward's gradient travels, and the ones before stay as they are",
                                    [&] { return own[i][rank] - last[i][rank] + SumOf(last[i]) / t.ranks(); }});
      }
      t.ExpectClose(run, rank, "g" + std::to_string(i), means[i], label, 1);
    }
  }
  return run;
}

std::vector<std::vector<int64_t>> SameOrder(CaseContext& t) {
  return std::vector<std::vector<int64_t>>(t.ranks(), {0, 1, 2, 3, 4});
}

/// When things happened in one step with overlap, on one rank; nothing of what did not happen.
struct StepTimes {
  int64_t first_bucket = std::numeric_limits<int64_t>::max();
  int64_t last_gradient = 0;
};

std::vector<StepTimes> StepsWithOverlap(const Run& run, int rank) {
  std::vector<StepTimes> steps;
  for (const Event& event : run.outcome.events) {
    const Record& record = event.record;
    if (event.rank != rank) continue;
    const std::string mark = record.kind == RecordKind::kMark ? record.name : "";
    if (mark == "with overlap") steps.emplace_back();
    if (steps.empty()) continue;
    StepTimes& step = steps.back();
    if (mark == "layer 0" && step.last_gradient == 0) step.last_gradient = record.time_ns;
    if (record.kind == RecordKind::kPost && record.op == OpKind::kAllReduce) {
      step.first_bucket = std::min(step.first_bucket, record.time_ns);
    }
  }
  return steps;
}

}  // namespace

SHARDLAB_CASE(overlap, averages, kValue, {1, 2, 3}) {
  ExpectMeans(t, SameOrder(t), 1, 2, 60, "");
  ExpectMeans(t, SameOrder(t), 1, 1, 1, ", one bucket each");
  ExpectMeans(t, SameOrder(t), 1, 1, 1 << 20, ", one bucket for all");
}

SHARDLAB_CASE(overlap, averages_accumulated_gradients, kGradient, {2}) {
  ExpectMeans(t, SameOrder(t), 3, 2, 60, ", accumulated over 3 backwards");
}

SHARDLAB_CASE(overlap, gradients_in_another_order_on_every_rank, kRobustness, {3}) {
  ExpectMeans(t, {{0, 1, 2, 3, 4}, {4, 3, 2, 1, 0}, {2, 0, 4, 1, 3}}, 1, 2, 60,
              ", where gradients become ready in another order on every rank");
}

SHARDLAB_CASE(overlap, parameters_that_take_no_part, kRobustness, {2}) {
  ExpectMeans(t, {{0, 1, 3, 4}, {0, 2, 4}}, 1, 2, 60, ", where some take no part in one rank's loss");
  ExpectMeans(t, {{0, 1, 2, 3, 4}, {}}, 1, 1, 60, ", where one rank's loss depends on none");
}

SHARDLAB_CASE(overlap, late_messages, kRobustness, {3}) {
  ExpectMeans(t, SameOrder(t), 2, 2, 60, ", with all-reduces that are late", 0.004);
}

SHARDLAB_CASE(overlap, only_the_last_backward_talks, kCost, {2}) {
  const Run run = ExpectMeans(t, SameOrder(t), 3, 1, 60, ", accumulated over 3 backwards");
  t.ExpectCost("bytes that a rank hands to all-reduces", run.Cost(0).collective_bytes, (6 + 5 + 1 + 16 + 2) * 8,
               "bytes", {{"every backward talks, and not the last one only", 3.0 * (6 + 5 + 1 + 16 + 2) * 8}});
  // From the back, 60 bytes each: {2 elements}, {16}, {1, 5}, {6}.
  t.ExpectCost(
      "all-reduces: one a bucket", run.Cost(0).collectives, 4, "all-reduces",
      {{"every parameter is a bucket of its own", 5}, {"every backward talks, and not the last one only", 12}});
}

SHARDLAB_CASE(overlap, step_takes_less_than_60_percent, kCost, {2}) {
  constexpr int64_t kLayers = 14;
  constexpr int kRepeats = 3;
  RunSpec spec;
  spec.body = "overlap_time";
  spec.limit_s = 20;
  spec.params = {{"layers", kLayers}, {"layer_s", 0.02}, {"repeats", kRepeats}};
  spec.faults.delay_s = 0.02;
  spec.faults.serial_link = true;
  spec.faults.delay_ops = {OpKind::kAllReduce};
  const Run run = t.Launch(spec);

  for (int rank = 0; rank < t.ranks(); ++rank) {
    t.ExpectClose(run, rank, "with", run.Output(rank, "without"), Label{"the averaged gradients", {}}, 1);
  }
  for (int rank = 0; rank < t.ranks(); ++rank) {
    const std::vector<StepTimes> steps = StepsWithOverlap(run, rank);
    t.Expect(static_cast<int>(steps.size()) == kRepeats, "the marks around the steps with overlap are missing");
    for (size_t step = 0; step < steps.size(); ++step) {
      t.Expect(steps[step].first_bucket < steps[step].last_gradient,
               fmt::format(
                   "rank {}, step {} with overlap: the first bucket's all-reduce starts {:.1f} ms after the last "
                   "gradient was computed; it must start while backward is still running",
                   rank, step + 1, static_cast<double>(steps[step].first_bucket - steps[step].last_gradient) * 1e-6));
    }
  }
  double with = 0, without = 0;
  for (int rank = 0; rank < t.ranks(); ++rank) {
    with = std::max(with, run.Number(rank, "with_s"));
    without = std::max(without, run.Number(rank, "without_s"));
  }
  t.ExpectAtMost(
      fmt::format("a step with overlap ({:.0f} ms) against one without ({:.0f} ms)", with * 1e3, without * 1e3),
      100 * with / without, 60, "%");
}

}  // namespace shardlab::grade
