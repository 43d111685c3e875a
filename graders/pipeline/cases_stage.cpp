#include <algorithm>

#include <fmt/format.h>
#include <torch/torch.h>

#include "kit/hypotheses.hpp"
#include "oracle.hpp"

// Part stage: micro-batches, and a stage by itself; zero_bubble's stage that goes back in halves.

namespace shardlab::grade {
namespace {

// A stage on the tuple layers of the body: forward and backward of both pieces, in one process.
void ExpectStage(CaseContext& t, bool halves, bool gradients) {
  const at::Tensor w0 = t.Normal({4, 3}), w1 = t.Normal({5, 4}), x = t.Normal({6, 3}), dy = t.Normal({6, 5});
  const at::Tensor sum_a = t.Normal({6, 2}), sum_b = t.Normal({6, 2}), dh = t.Normal({6, 5});
  const at::Tensor index = t.Integers({6}, at::kLong);
  RunSpec spec;
  spec.body = "stage";
  spec.params["halves"] = halves;
  spec.inputs = {{"w0", {w0}}, {"w1", {w1}},   {"x", {x}},     {"dy", {dy}},
                 {"dh", {dh}}, {"a", {sum_a}}, {"b", {sum_b}}, {"index", {index}}};
  const Run run = t.Launch(spec);

  const at::Tensor a = w0.clone().requires_grad_(), b = w1.clone().requires_grad_(), in = x.clone().requires_grad_();
  const at::Tensor scale = index.to(at::kDouble).unsqueeze(1);
  const at::Tensor in_a = sum_a.clone().requires_grad_(), in_b = sum_b.clone().requires_grad_();
  const auto layer = [&](const at::Tensor& of, const at::Tensor& weight, const at::Tensor& first,
                         const at::Tensor& second) {
    return of.mm(weight.t()) + first.sum(1, true) / 2 + second.sum(1, true) / 4;
  };
  const at::Tensor h0 = layer(in, a, in_a, in_b);
  const at::Tensor h1 = layer(at::tanh(h0) * scale, b, h0, h0);
  const at::Tensor y = at::tanh(h1) * scale;
  ((y * dy).sum() + (h1 * dh).sum()).backward();
  for (int i = 0; i < 2; ++i) {
    const auto part = [&](const at::Tensor& whole) { return whole.detach().narrow(0, 3 * i, 3); };
    if (!gradients) {
      t.ExpectClose(run, 0, "y" + std::to_string(i), part(y), {fmt::format("the output of micro-batch {}", i)});
      t.ExpectEqual(run, 0, "index" + std::to_string(i), part(index), {"the tensor of integers that goes through"});
      const double wants = run.Number(0, "wants" + std::to_string(i));
      t.Expect(wants < 8, "an output of Forward has a graph: hand out y.detach()");
      t.Expect(wants == 1,
               "of the outputs the first and the last two want a gradient: the others are integers, and a tensor made "
               "of one that wants none; requires_grad() of what Forward returns must say so");
      continue;
    }
    t.ExpectClose(run, 0, "dx" + std::to_string(i), part(in.grad()),
                  {fmt::format("the gradient of the input of micro-batch {}", i)});
    for (const auto& [name, of] : {std::pair{"da", in_a}, std::pair{"db", in_b}}) {
      t.ExpectClose(run, 0, name + std::to_string(i), part(of.grad()),
                    {fmt::format("the gradient of another input of micro-batch {}, `{}`", i, name + 1)});
    }
    t.Expect(
        run.Number(0, "touched" + std::to_string(i)) == 0,
        "the inputs are left as they are: the graph begins at x.detach(), and the gradient is in that leaf's grad()");
    t.Expect(run.Number(0, "others" + std::to_string(i)) == 0,
             "an input that wants no gradient gets an undefined tensor from Backward");
    t.Expect(run.Number(0, "unused" + std::to_string(i)) == 1,
             "an input that wants a gradient, and on which no output depends, gets zeros of its shape from Backward");
  }
  if (gradients) {
    for (const auto& [name, of, which] : {std::tuple{"a", a, "first"}, std::tuple{"b", b, "second"}}) {
      t.ExpectClose(run, 0, fmt::format("grad.{}.weight", name), of.grad(),
                    {fmt::format("the gradient of the {} layer's weight, of both micro-batches (the layer returns a "
                                 "tensor twice, and one that is made of it)",
                                 which)});
    }
  } else {
    t.Expect(run.Number(0, "live") == 2, "two micro-batches are under way after two forwards: Live() must say so");
    t.Expect(run.Number(0, "left") == 0, "no micro-batch is under way after both backwards: Live() must be 0");
  }
  if (halves && gradients) {
    t.Expect(run.Number(0, "half") == 0,
             "BackwardInput must not compute the weights' gradients: nobody waits for them");
  }
}

}  // namespace

SHARDLAB_CASE(stage, pieces_of_a_mini_batch, kValue, {1}) {
  const std::vector<std::pair<int64_t, int>> asked = {{8, 4}, {10, 4}, {3, 5}, {1, 1}, {7, 2}, {13, 13}, {5, 3}};
  RunSpec spec;
  spec.body = "micro_batches";
  spec.params["asked"] = asked;
  const Run run = t.Launch(spec);
  for (size_t k = 0; k < asked.size(); ++k) {
    const auto [B, m] = asked[k];
    const int64_t count = std::min<int64_t>(B, m);
    std::vector<int64_t> rows;
    int64_t begin = 0;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t end = begin + B / count + (i < B % count ? 1 : 0);
      for (const int64_t value : {i, count, begin, end, B, int64_t{7}}) rows.push_back(value);
      begin = end;
    }
    const std::string of = fmt::format("{} samples in {} pieces", B, m);
    t.ExpectEqual(run, 0, "pieces " + std::to_string(k), at::tensor(rows, at::kLong).view({count, 6}),
                  {fmt::format("the pieces of {} (index, count, begin, end, batch, step)", of)});
    const at::Tensor batch = at::arange(2 * B, at::kDouble).view({B, 2});
    t.ExpectEqual(run, 0, "samples " + std::to_string(k), batch, {fmt::format("the samples of all pieces of {}", of)});
    Label label{fmt::format("the sum of the pieces' shares of the loss of {}", of)};
    std::vector<at::Tensor> means;
    for (int64_t i = 0, at = 0; i < count; ++i) {
      const int64_t n = B / count + (i < B % count ? 1 : 0);
      means.push_back(batch.narrow(0, at, n).mean());
      at += n;
    }
    label.hypotheses = {{EqualWeights("micro-batch"), [=] { return at::stack(means).mean(0); }}};
    label.factors = {{"micro-batches", count}};
    t.ExpectClose(run, 0, "loss " + std::to_string(k), batch.mean(), label);
  }
  for (size_t k = 0; k < asked.size(); ++k) {
    const auto [B, m] = asked[k];
    const at::Tensor mean = at::arange(2 * B, at::kDouble).mean();
    Label label{fmt::format(
        "the sum of the pieces' shares of the loss of {} samples, of which {} in {} pieces are here", 4 * B, B, m)};
    label.hypotheses = {{"the samples of this mini-batch are taken for those of the whole update (update_samples)",
                         [=] { return mean; }}};
    t.ExpectClose(run, 0, "part of a loss " + std::to_string(k), mean / 4, label);
  }
}

SHARDLAB_CASE(stage, outputs_of_a_stage, kValue, {1}) { ExpectStage(t, false, false); }

SHARDLAB_CASE(stage, gradients_of_a_stage, kGradient, {1}) { ExpectStage(t, false, true); }

SHARDLAB_CASE(stage, graphs_that_are_kept, kCost, {1}) {
  RunSpec spec;
  spec.body = "stage_keeps";
  const Run run = t.Launch(spec);
  t.ExpectCost("graphs of two layers alive after four forwards and a backward", run.Number(0, "graphs"), 6, "graphs",
               {{"the micro-batch that went back is kept", 8}});
}

SHARDLAB_CASE(zero_bubble, a_stage_in_halves, kValue, {1}) { ExpectStage(t, true, false); }
SHARDLAB_CASE(zero_bubble, gradients_of_a_stage_in_halves, kGradient, {1}) { ExpectStage(t, true, true); }

}  // namespace shardlab::grade
