#include <ATen/ATen.h>

#include <algorithm>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "data_parallel_mistakes.hpp"
#include "kit/calls.hpp"
#include "kit/costs.hpp"
#include "kit/hypotheses.hpp"
#include "kit/parts.hpp"
#include "kit/traffic.hpp"
#include "kit/words.hpp"

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
        const auto uses = std::count(order[rank].begin(), order[rank].end(), static_cast<int64_t>(i));
        if (uses == 0) continue;
        means[i] = means[i] + c[rank] * uses / t.ranks();
        own[i][rank] = own[i][rank] + c[rank] * uses;
        last[i][rank] = c[rank] * uses;
      }
    }
  }
  Run run = t.Launch(spec);
  for (size_t i = 0; i < kShapes.size(); ++i) {
    for (int rank = 0; rank < t.ranks(); ++rank) {
      Label label{fmt::format("the averaged gradient of parameter {}{}", i, where)};
      const at::Tensor before = run.Output(rank, "before" + std::to_string(i));
      if (before.defined() && before.sizes() == means[i].sizes() && at::allclose(before, means[i])) {
        label.hypotheses.push_back(
            {"the mean is written into the tensor that was the gradient in the step before; "
             ".grad() may be another tensor in every step, so ask for it in Finish",
             [&] { return own[i][rank]; }});
      }
      Append(label.hypotheses, AverageMistakes(own[i], rank, "its bucket never travels"));
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

/// How long each step of a rank takes when a layer's backward and a bucket's all-reduce take one unit of time each, one
/// bucket travels after the other, and nothing else takes any: from the order in which things happened.
std::vector<int64_t> StepTimes(const Run& run, int rank) {
  std::vector<int64_t> steps, arrives;  // of this step's buckets
  int64_t now = 0;
  const auto arrival_of_the_last = [&] { return arrives.empty() ? 0 : arrives.back(); };
  for (const Event& event : run.outcome.events) {
    if (event.rank != rank || event.record.kind != RecordKind::kMark) continue;
    const std::string mark = event.record.name;
    if (mark == "step") {
      now = 0;
      arrives.clear();
    } else if (mark == "layer") {
      ++now;
    } else if (mark == "start") {
      arrives.push_back(std::max(now, arrival_of_the_last()) + 1);
    } else if (mark.rfind("wait ", 0) == 0) {
      now = std::max(now, arrives.at(std::stoul(mark.substr(5))));
    } else if (mark == "step over") {
      steps.push_back(std::max(now, arrival_of_the_last()));
    }
  }
  return steps;
}

/// The means that the chain of overlap_chain gives in one step. \param own [layers, 4] a rank.
at::Tensor MeansOfChain(const Tensors& own) {
  const int64_t layers = own[0].size(0);
  Tensors sums(layers);
  for (int64_t layer = layers - 1; layer >= 0; --layer) {
    Tensors gradients;
    for (const at::Tensor& one : own) {
      gradients.push_back(layer + 2 < layers ? one[layer] + sums[layer + 2].remainder(5) : one[layer]);
    }
    sums[layer] = SumOf(gradients);
  }
  return at::stack(sums) / static_cast<double>(own.size());
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

SHARDLAB_CASE(overlap, failed_messages_are_reported, kRobustness, {1}) {
  ExpectCommErrors(t, "overlap_fails", {"OverlappedAverage::Finish"});
}

SHARDLAB_CASE(overlap, parameters_that_are_used_twice, kRobustness, {2}) {
  ExpectMeans(t, {{0, 1, 0, 2, 3, 4, 3}, {0, 1, 0, 2, 3, 4, 3}}, 1, 1, 60, ", where some are used twice in a loss");
}

SHARDLAB_CASE(overlap, late_messages, kRobustness, {3}) {
  ExpectMeans(t, SameOrder(t), 2, 2, 60, ", with all-reduces that are late", 0.004);
}

SHARDLAB_CASE(overlap, only_the_last_backward_talks, kCost, {2}) {
  const Run run = ExpectMeans(t, SameOrder(t), 3, 1, 60, ", accumulated over 3 backwards");
  constexpr double kBytes = (6 + 5 + 1 + 16 + 2) * 8;
  Costs costs;
  costs.Add("bytes that a rank hands to all-reduces", static_cast<double>(run.Cost(0).collective_bytes), kBytes,
            "bytes");
  // From the back, 60 bytes each: {2 elements}, {16}, {1, 5}, {6}.
  costs.Add("all-reduces: one a bucket", static_cast<double>(run.Cost(0).collectives), 4, "all-reduces");
  costs.Expect(t, {{"every backward talks, and not the last one only", {3 * kBytes, 12}},
                   {"every parameter is a bucket of its own", {kBytes, 5}}});
}

// No clock is asked: a rank's can be turned, and everybody's runs on while a loaded machine does something else.
SHARDLAB_CASE(overlap, step_takes_less_than_60_percent, kCost, {2}) {
  constexpr int64_t kLayers = 14, kSteps = 2;
  RunSpec spec;
  spec.body = "overlap_chain";
  spec.limit_s = 20;
  const Tensors own = t.PerRank([&](int) { return t.Integers({kSteps, kLayers, 4}, at::kDouble) * t.ranks(); });
  spec.inputs["own"] = own;
  const Run run = t.Launch(spec);

  int64_t longest = 0;
  for (int64_t step = 0; step < kSteps; ++step) {
    const std::string number = std::to_string(step);
    Tensors of_step;
    for (const at::Tensor& one : own) of_step.push_back(one[step]);
    for (int rank = 0; rank < t.ranks(); ++rank) {
      const auto missing = static_cast<int64_t>(run.Number(rank, "missing" + number));
      t.Expect(
          missing < 0,
          fmt::format("rank {}, step {}: when the backward of layer {} ran, no all-reduce had been started for the "
                      "bucket of layer {}, two layers behind it, whose gradient was ready; it must start while "
                      "backward is still running",
                      rank, step + 1, missing, missing + 2));
      t.ExpectClose(run, rank, "means" + number, MeansOfChain(of_step),
                    Label{"the mean gradients of all layers, each of which needs what an earlier bucket brought"});
    }
  }
  for (int rank = 0; rank < t.ranks(); ++rank) {
    const std::vector<int64_t> steps = StepTimes(run, rank);
    t.Expect(static_cast<int64_t>(steps.size()) == kSteps, "the marks around the steps are missing");
    for (const int64_t time : steps) longest = std::max(longest, time);
  }
  // Backward and then the buckets take kLayers each; with overlap the last bucket alone comes behind.
  t.ExpectAtMost(
      fmt::format("a step with overlap ({} units of time, one a layer and one a bucket) against one without ({})",
                  longest, 2 * kLayers),
      100.0 * static_cast<double>(longest) / (2.0 * kLayers), 60, "%",
      {{"backward waits for every bucket before it goes on: Wait belongs into Finish", 100}});
}

SHARDLAB_CASE(overlap, objects_come_and_go, kRobustness, {2}) {
  RunSpec spec;
  spec.body = "overlap_lives";
  std::vector<Tensors> c;
  for (const auto& shape : std::vector<std::vector<int64_t>>{{3}, {2, 2}, {4}, {5}}) {
    c.push_back(t.PerRank([&](int) { return t.Integers(shape, at::kDouble) * t.ranks(); }));
    spec.inputs["c" + std::to_string(c.size() - 1)] = c.back();
  }
  const Run run = t.Launch(spec);
  for (int rank = 0; rank < t.ranks(); ++rank) {
    t.Expect(run.Number(rank, "threw") == 1, "the exception of a layer's backward must come out of backward");
    const size_t talks = TrafficBetween(run, rank, "destroyed", "alone").collectives.size();
    t.Expect(talks == 0, fmt::format("rank {}: a backward after the object was destroyed starts {}: the hooks must go "
                                     "with the object",
                                     rank, Count(static_cast<int64_t>(talks), "all-reduce")));
    for (size_t i = 0; i < c.size(); ++i) {
      const std::string number = std::to_string(i);
      t.ExpectEqual(run, rank, "own" + number, c[i][rank],
                    Label{"the gradient of parameter " + number +
                          " in a backward after the object was destroyed, which is the rank's own"});
      Label mean{"the averaged gradient of parameter " + number + ", where two objects share the parameters"};
      mean.hypotheses = AverageMistakes(c[i], rank, "its bucket never travels");
      t.ExpectClose(run, rank, "mean" + number, SumOf(c[i]) / t.ranks(), mean, 1);
    }
  }
}

}  // namespace shardlab::grade
