// A referee of the tests: cases that pass, and cases that fail in every way that a student can see.

#include <cmath>
#include <stdexcept>
#include <vector>

#include <ATen/ATen.h>

#include "shardlab/grade/referee.hpp"

using shardlab::grade::Run;
using shardlab::grade::Status;

SHARDLAB_CASE(good, sum_values, kValue, {1, 2, 3}) {
  const auto mine = t.PerRank([&](int) { return t.Integers({5}, at::kDouble); });
  const Run run = t.Launch({.body = "sum", .inputs = {{"mine", mine}}});
  at::Tensor sum = at::zeros({5}, at::kDouble);
  for (const at::Tensor& tensor : mine) sum += tensor;
  for (int rank = 0; rank < t.ranks(); ++rank) {
    t.ExpectEqual(run, rank, "sum", sum);
    t.Expect(run.Number(rank, "rank") == rank, "a rank took itself for another");
  }
}

SHARDLAB_CASE(good, ring_cost, kCost, {3}) {
  const auto mine = t.PerRank([&](int) { return t.Normal({4}); });
  const Run run = t.Launch({.body = "ring_step", .inputs = {{"mine", mine}}});
  for (int rank = 0; rank < 3; ++rank) t.ExpectClose(run, rank, "other", mine[(rank + 2) % 3]);
  t.ExpectCost("messages", static_cast<double>(run.TotalCost().messages), 3, "messages");
  t.ExpectCost("bytes", static_cast<double>(run.TotalCost().bytes_sent), 3 * 4 * 8, "bytes");
  t.ExpectAtMost("rounds", static_cast<double>(run.TotalCost().rounds), 1, "rounds");
}

SHARDLAB_CASE(good, curve, kGradient, {1}) {
  t.Launch({.body = "nothing"});
  t.Curve("loss", {2, std::nan("")}, {2, 1}, {1e-10, 2e-10});
  t.Expect(true, "");
}

SHARDLAB_CASE(good, any_outcome, kRobustness, {2}) {
  const Run run = t.Try({.body = "throws"});
  t.Expect(run.outcome.status == Status::kFailed, "an exception was expected");
}

SHARDLAB_CASE(bad, doubled, kValue, {2}) {
  const at::Tensor value = at::arange(1, 7, at::kDouble).reshape({2, 3});
  const Run run = t.Launch({.body = "echo", .inputs = {{"value", {value}}}, .params = {{"factor", 2.0}}});
  t.ExpectEqual(run, 1, "value", value, {"gradient of layer1.weight", {4, 0}});
}

SHARDLAB_CASE(bad, not_close, kGradient, {1}) {
  const at::Tensor value = t.Normal({100});
  const Run run = t.Launch({.body = "echo", .inputs = {{"value", {value}}}});
  at::Tensor expected = value.clone();
  expected[7] += 1e-6;
  t.ExpectClose(run, 0, "value", expected);
}

SHARDLAB_CASE(bad, wrong_shape, kValue, {1}) {
  const at::Tensor value = t.Integers({2, 3}, at::kFloat);
  const Run run = t.Launch({.body = "wrong_shape", .inputs = {{"value", {value}}}});
  t.ExpectEqual(run, 0, "value", value);
}

SHARDLAB_CASE(bad, wrong_dtype, kValue, {1}) {
  const at::Tensor value = t.Integers({3}, at::kFloat);
  const Run run = t.Launch({.body = "echo", .inputs = {{"value", {value}}}});
  t.ExpectEqual(run, 0, "value", value.to(at::kDouble));
}

SHARDLAB_CASE(bad, missing, kValue, {1}) {
  const Run run = t.Launch({.body = "nothing"});
  t.ExpectEqual(run, 0, "value", at::zeros({1}));
}

SHARDLAB_CASE(bad, costs_too_much, kCost, {2}) {
  const auto mine = t.PerRank([&](int) { return t.Integers({4}, at::kDouble); });
  const Run run = t.Launch({.body = "ring_step", .inputs = {{"mine", mine}}});
  t.ExpectCost("rounds", static_cast<double>(run.TotalCost().rounds), 1, "rounds");
  t.ExpectCost("messages", static_cast<double>(run.TotalCost().messages), 1, "messages",
               {{"nobody sends", 0}, {"both ranks send", 2}});
}

SHARDLAB_CASE(bad, wrong_but_measured, kValue, {2}) {
  const auto mine = t.PerRank([&](int) { return t.Normal({4}); });
  const Run run = t.Launch({.body = "ring_step", .inputs = {{"mine", mine}}});
  t.ExpectClose(run, 0, "other", mine[0]);
  t.ExpectCost("messages", static_cast<double>(run.TotalCost().messages), 2, "messages");
}

SHARDLAB_CASE(bad, never_written, kValue, {1}) {
  const Run run = t.Launch({.body = "never_writes"});
  t.ExpectEqual(run, 0, "value", at::ones({2, 3}, at::kDouble));
}

SHARDLAB_CASE(bad, reads_too_early, kValue, {2}) {
  const Run run = t.Launch({.body = "reads_too_early"});
  t.ExpectEqual(run, 1, "sum", at::full({3}, 2, at::kDouble));
}

SHARDLAB_CASE(bad, prints_and_is_wrong, kValue, {1}) {
  t.Launch({.body = "prints"});
  t.Expect(false, "the sum of the parts must be the whole");
}

SHARDLAB_CASE(bad, deadlock, kRobustness, {2}) { t.Launch({.body = "deadlock"}); }

SHARDLAB_CASE(bad, crashes, kRobustness, {2}) { t.Launch({.body = "divides_by_zero"}); }

SHARDLAB_CASE(bad, checks_nothing, kValue, {1}) { t.Launch({.body = "nothing"}); }

SHARDLAB_CASE(bad, no_such_body, kValue, {1}) { t.Launch({.body = "nosuch"}); }

SHARDLAB_CASE(bad, wrong_inputs, kValue, {3}) {
  t.Launch({.body = "nothing", .inputs = {{"x", {at::zeros({1}), at::zeros({1})}}}});
}

SHARDLAB_CASE(bad, grader_throws, kValue, {1}) { throw std::out_of_range("no such layer"); }

SHARDLAB_CASE(mixed, asks_without_tensors_and_runs_with, kValue, {2}) {
  t.Expect(t.Ask("hands_back", {{"text", "1F0"}, {"number", 1}}).Text("text") == "1F0", "a text is not what it was");
  const at::Tensor value = t.Integers({3}, at::kDouble);
  t.ExpectEqual(t.Launch({.body = "echo", .inputs = {{"value", {value}}}}), 1, "value", value);
}

SHARDLAB_CASE(stub, not_implemented, kValue, {2}) { t.Launch({.body = "not_implemented"}); }

SHARDLAB_CASE(stub, kills_the_host, kRobustness, {2}) { t.Launch({.body = "kills_the_host"}); }

SHARDLAB_CASE(stub, works_again, kRobustness, {2}) {
  t.Launch({.body = "nothing"});
  t.Expect(true, "");
}
