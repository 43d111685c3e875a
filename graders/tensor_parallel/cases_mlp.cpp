#include <fmt/format.h>

#include "kit/traffic.hpp"
#include "kit/words.hpp"
#include "layer_calls.hpp"
#include "shardlab/base/split.hpp"

// Parts mlp and fused: linear, ReLU, linear, with two rounds each way and with one. One oracle, two layouts.

namespace shardlab::grade {
namespace {

struct MlpSizes {
  int64_t in;
  int64_t hidden;
  int64_t out;
  int64_t rows;
};

// Divisible, odd, fewer hidden features than ranks, one row.
const std::vector<MlpSizes> kMlpSizes = {{4, 8, 4, 2}, {5, 7, 3, 3}, {3, 2, 5, 1}};

LayerCall Mlp(CaseContext& t, const MlpSizes& sizes, bool fused, bool integers = true) {
  LayerCall call;
  call.what = fmt::format("{} (I = {}, H = {}, O = {}, {})", fused ? "MakeFusedMlp" : "MakeShardedMlp", sizes.in,
                          sizes.hidden, sizes.out, Count(sizes.rows, "row"));
  call.params = {{"layer", fused ? "fused" : "mlp"}};
  call.exact = integers;
  const auto draw = [&](const std::vector<int64_t>& shape) {
    return integers ? t.Integers(shape, at::kDouble) : t.Normal(shape);
  };
  const at::Tensor weight2_OH = draw({sizes.out, sizes.hidden});
  const at::Tensor bias2_O = draw({sizes.out}).abs() + 1;
  call.weights = {{"first.weight", draw({sizes.hidden, sizes.in}), {0}},
                  {"first.bias", draw({sizes.hidden}), {0}},
                  {"second.weight", weight2_OH, {fused ? 1 : 0}},
                  {"second.bias", bias2_O, fused ? Placement{} : Placement{0}}};
  call.x = {draw({sizes.rows, sizes.in})};
  call.dy = {draw({sizes.rows, sizes.out})};
  call.oracle = [](const Weights& weights, const at::Tensor& x) {
    const auto bias = [&](const char* name) { return weights.count(name) ? weights.at(name) : at::Tensor(); };
    const at::Tensor h = at::linear(x, weights.at("first.weight"), bias("first.bias")).relu();
    return at::linear(h, weights.at("second.weight"), bias("second.bias"));
  };

  const int ranks = t.ranks();
  const at::Tensor x = call.x[0];
  const at::Tensor dy = call.dy[0];
  const at::Tensor weight1_HI = call.weights[0].full;
  const at::Tensor bias1_H = call.weights[1].full;
  const auto second = [=](const at::Tensor& h) { return at::linear(h, weight2_OH, bias2_O); };
  const auto first = [=] { return at::linear(x, weight1_HI, bias1_H); };
  call.y_mistakes = [=](size_t, int rank) {
    const auto partial = [=] {
      const at::Tensor h_Bh = Placement{-1}.PartOf(first().relu(), ranks, rank);
      return h_Bh.mm(Placement{1}.PartOf(weight2_OH, ranks, rank).t());
    };
    const auto whole = [=] { return at::linear(first().relu(), weight2_OH); };
    Label label;
    label.hypotheses = {
        {"the ReLU between the layers is missing", [=] { return second(first()); }},
        {"a ReLU stands behind the second layer, and none between the layers", [=] { return second(first()).relu(); }},
        {"a ReLU stands behind the second layer too: the last layer has none",
         [=] { return second(first().relu()).relu(); }},
        {"it is only this rank's summand; the ranks' must be added up", [=] { return partial() + bias2_O; }},
        {"it is only this rank's summand; the ranks' must be added up, and the bias too", partial},
        {"the first bias is missing", [=] { return second(at::linear(x, weight1_HI).relu()); }}};
    Append(label.hypotheses, BiasMistakes("the second bias", ranks, whole, bias2_O));
    return label;
  };
  call.dx_mistakes = [=](size_t, int rank) {
    const auto own = [=](int r) {
      const at::Tensor open_BH = (first() > 0).to(at::kDouble);
      const at::Tensor dh_BH = dy.mm(weight2_OH) * open_BH;
      return Placement{-1}.PartOf(dh_BH, ranks, r).mm(Placement{0}.PartOf(weight1_HI, ranks, r));
    };
    Label label;
    label.hypotheses = {{"it comes from this rank's hidden features alone; the ranks' gradients must be added up (an "
                         "all-reduce in backward)",
                         [=] { return own(rank); }},
                        {"the ReLU's backward is missing: gradients pass where the ReLU gave 0",
                         [=] { return dy.mm(weight2_OH).mm(weight1_HI); }}};
    return label;
  };
  return call;
}

// Without one bias, or both. What is told of mistakes is dropped.
LayerCall WithoutBiases(LayerCall call, bool first, bool second) {
  call.what += first && second ? ", no bias" : first ? ", no bias in the first" : ", no bias in the second";
  if (first) call.weights[1].full = at::Tensor();
  if (second) call.weights[3].full = at::Tensor();
  call.y_mistakes = nullptr;
  call.dx_mistakes = nullptr;
  return call;
}

void ExpectMlpValues(CaseContext& t, bool fused) {
  LayerCalls calls(t.ranks());
  for (const MlpSizes& sizes : kMlpSizes) calls.Add(Mlp(t, sizes, fused));
  calls.Add(WithoutBiases(Mlp(t, {5, 7, 3, 3}, fused), true, true));
  calls.Add(WithoutBiases(Mlp(t, {5, 7, 3, 3}, fused), true, false));
  calls.Add(WithoutBiases(Mlp(t, {5, 7, 3, 3}, fused), false, true));
  calls.Add(InFloat32(Mlp(t, {5, 7, 3, 3}, fused)));
  calls.ExpectValuesOnly(t);
}

void ExpectMlpGradients(CaseContext& t, bool fused) {
  LayerCalls calls(t.ranks());
  for (const MlpSizes& sizes : kMlpSizes) calls.Add(Mlp(t, sizes, fused));
  calls.Add(Mlp(t, {6, 9, 5, 4}, fused, /*integers=*/false));
  calls.ExpectGradientsOnly(t);
}

// What backward needs where the input needs no gradient, and that nobody waits.
void WithoutInputGradient(CaseContext& t, bool fused, const std::vector<Collective>& expected) {
  LayerCalls calls(t.ranks());
  calls.Add(WithoutInputGradient(Mlp(t, {5, 7, 3, 3}, fused)));
  const Run run = calls.ExpectAll(t);
  ExpectCollectives(t, run, "backward of " + calls.call(0).what, "backward 0.0", "end 0.0",
                    [&](int) { return expected; });
}

void ExpectAwkwardInputs(CaseContext& t, bool fused) {
  LayerCalls calls(t.ranks());
  calls.Add(NonContiguous(Mlp(t, {5, 7, 3, 4}, fused)));
  calls.Add(WithoutAutograd(Mlp(t, {5, 7, 3, 4}, fused)));
  calls.Add(Mlp(t, {5, 7, 3, 0}, fused));
  calls.Add(Mlp(t, {1, 1, 1, 1}, fused));
  calls.Add(WithRowsAs(Mlp(t, {5, 7, 3, 4}, fused), {2, 2}));
  calls.Add(WithRowsAs(Mlp(t, {5, 7, 3, 1}, fused), {}));
  calls.spec.faults = LateMessages(t, 0.003);
  calls.ExpectAll(t);
}

void ExpectMlpMemory(CaseContext& t, bool fused) {
  LayerCalls calls(t.ranks());
  calls.Add(Mlp(t, {48, 64, 48, 32}, fused));
  calls.ExpectMemory(t);
}

void ExpectMlpRefusals(CaseContext& t, bool fused) {
  LayerCalls calls(t.ranks());
  const auto add = [&](const char* given, const std::vector<int64_t>& weight1, const std::vector<int64_t>& bias1,
                       const std::vector<int64_t>& weight2, const std::vector<int64_t>& bias2) {
    LayerCall call;
    call.what = fmt::format("{} returned although it was given {}", fused ? "MakeFusedMlp" : "MakeShardedMlp", given);
    call.params = {{"layer", fused ? "fused" : "mlp"}};
    call.weights = {{"first.weight", t.Integers(weight1, at::kDouble), {}},
                    {"first.bias", t.Integers(bias1, at::kDouble), {}},
                    {"second.weight", t.Integers(weight2, at::kDouble), {}},
                    {"second.bias", t.Integers(bias2, at::kDouble), {}}};
    calls.Add(call);
  };
  add("weights [6, 4] and [3, 5]: H is 6 in one and 5 in the other", {6, 4}, {6}, {3, 5}, {3});
  add("a first bias [5] for 6 hidden features", {6, 4}, {5}, {3, 6}, {3});
  add("a second bias [6] for 3 outputs", {6, 4}, {6}, {3, 6}, {6});
  add("a first weight [6]", {6}, {6}, {3, 6}, {3});
  calls.ExpectRefused(t);
}

}  // namespace

SHARDLAB_CASE(mlp, values, kValue, {1, 2, 3, 4}) { ExpectMlpValues(t, /*fused=*/false); }
SHARDLAB_CASE(mlp, gradients, kGradient, {1, 2, 3, 4}) { ExpectMlpGradients(t, /*fused=*/false); }
SHARDLAB_CASE(mlp, cost, kCost, {2, 3, 4}) {
  const MlpSizes sizes{5, 7, 3, 4};
  LayerCalls calls(t.ranks());
  calls.Add(Mlp(t, sizes, /*fused=*/false));
  const Run run = calls.Launch(t);
  const auto part = [&](int64_t size, int rank) { return sizes.rows * SplitRange(size, t.ranks(), rank).size(); };
  ExpectCollectives(t, run, "forward of " + calls.call(0).what, "forward 0.0", "backward 0.0", [&](int rank) {
    return std::vector<Collective>{{OpKind::kAllGather, part(sizes.hidden, rank)},
                                   {OpKind::kAllGather, part(sizes.out, rank)}};
  });
  ExpectCollectives(t, run, "backward of " + calls.call(0).what, "backward 0.0", "end 0.0", [&](int) {
    return std::vector<Collective>{{OpKind::kAllReduce, sizes.rows * sizes.hidden},
                                   {OpKind::kAllReduce, sizes.rows * sizes.in}};
  });
}
SHARDLAB_CASE(mlp, input_without_gradient, kRobustness, {2, 3}) {
  WithoutInputGradient(t, /*fused=*/false, {{OpKind::kAllReduce, 3 * 7}});
}
SHARDLAB_CASE(mlp, memory, kCost, {2}) { ExpectMlpMemory(t, /*fused=*/false); }
SHARDLAB_CASE(mlp, awkward_inputs, kRobustness, {1, 2, 4}) { ExpectAwkwardInputs(t, /*fused=*/false); }
SHARDLAB_CASE(mlp, refuses_weights_that_do_not_fit, kRobustness, {2}) { ExpectMlpRefusals(t, /*fused=*/false); }

SHARDLAB_CASE(fused, values, kValue, {1, 2, 3, 4}) { ExpectMlpValues(t, /*fused=*/true); }
SHARDLAB_CASE(fused, gradients, kGradient, {1, 2, 3, 4}) { ExpectMlpGradients(t, /*fused=*/true); }
SHARDLAB_CASE(fused, one_round_each_way, kCost, {2, 3, 4}) {
  const MlpSizes sizes{5, 7, 3, 4};
  LayerCalls calls(t.ranks());
  calls.Add(Mlp(t, sizes, /*fused=*/true));
  const Run run = calls.Launch(t);
  ExpectCollectives(t, run, "forward of " + calls.call(0).what, "forward 0.0", "backward 0.0", [&](int) {
    return std::vector<Collective>{{OpKind::kAllReduce, sizes.rows * sizes.out}};
  });
  ExpectCollectives(t, run, "backward of " + calls.call(0).what, "backward 0.0", "end 0.0", [&](int) {
    return std::vector<Collective>{{OpKind::kAllReduce, sizes.rows * sizes.in}};
  });
}
SHARDLAB_CASE(fused, no_round_back_without_input_gradient, kCost, {2, 4}) {
  WithoutInputGradient(t, /*fused=*/true, {});
}
SHARDLAB_CASE(fused, memory, kCost, {2}) { ExpectMlpMemory(t, /*fused=*/true); }
SHARDLAB_CASE(fused, awkward_inputs, kRobustness, {1, 2, 4}) { ExpectAwkwardInputs(t, /*fused=*/true); }
SHARDLAB_CASE(fused, refuses_weights_that_do_not_fit, kRobustness, {2}) { ExpectMlpRefusals(t, /*fused=*/true); }

}  // namespace shardlab::grade
