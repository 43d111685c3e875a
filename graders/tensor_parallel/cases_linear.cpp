#include <fmt/format.h>

#include "kit/traffic.hpp"
#include "kit/words.hpp"
#include "layer_calls.hpp"
#include "shardlab/base/split.hpp"

// Part linear: the column-parallel and the row-parallel layer. Everything is integers: any order of
// summation gives the same bits, so equality is exact.

namespace shardlab::grade {
namespace {

struct LinearSizes {
  int64_t out;
  int64_t in;
  int64_t rows;
};

// Divisible, odd, more ranks than features on either side, one row.
const std::vector<LinearSizes> kLinearSizes = {{4, 4, 2}, {5, 7, 3}, {1, 6, 2}, {6, 1, 1}};

std::string Describe(const char* function, const LinearSizes& sizes, const std::string& more = "") {
  return fmt::format("{} (weight [{}, {}], {}{})", function, sizes.out, sizes.in, Count(sizes.rows, "row"), more);
}

at::Tensor Linear(const Weights& weights, const at::Tensor& x) {
  return at::linear(x, weights.at("weight"), weights.count("bias") ? weights.at("bias") : at::Tensor());
}

LayerCall Column(CaseContext& t, const LinearSizes& sizes, bool whole, bool bias = true) {
  LayerCall call;
  call.what = Describe("MakeColumnLinear", sizes, std::string(whole ? ", gathered" : "") + (bias ? "" : ", no bias"));
  call.params = {{"layer", "column"}, {"whole", whole}};
  const at::Tensor weight_OI = t.Integers({sizes.out, sizes.in}, at::kDouble);
  const at::Tensor bias_O = bias ? t.Integers({sizes.out}, at::kDouble) : at::Tensor();
  call.weights = {{"weight", weight_OI, {0}}, {"bias", bias_O, {0}}};
  if (!whole) call.output = {-1};
  call.x = {t.Integers({sizes.rows, sizes.in}, at::kDouble)};
  call.dy = {t.Integers({sizes.rows, sizes.out}, at::kDouble)};
  call.oracle = Linear;

  const int ranks = t.ranks();
  const at::Tensor dy = call.dy[0];
  call.dx_mistakes = [=](size_t, int rank) {
    Label label;
    const auto of = [=](int r) {
      return Placement{-1}.PartOf(dy, ranks, r).mm(Placement{0}.PartOf(weight_OI, ranks, r));
    };
    for (int r = 0; r < ranks; ++r) label.summands.push_back(of(r));
    label.hypotheses = {
        {"it comes from this rank's output features alone; the ranks' gradients must be added up (an all-reduce in "
         "backward)",
         [=] { return of(rank); }}};
    return label;
  };
  return call;
}

LayerCall Row(CaseContext& t, const LinearSizes& sizes, bool bias = true) {
  LayerCall call;
  call.what = Describe("MakeRowLinear", sizes, bias ? "" : ", no bias");
  call.params = {{"layer", "row"}};
  const at::Tensor weight_OI = t.Integers({sizes.out, sizes.in}, at::kDouble);
  // Never 0: a bias that is added T times must show.
  const at::Tensor bias_O = bias ? t.Integers({sizes.out}, at::kDouble).abs() + 1 : at::Tensor();
  call.weights = {{"weight", weight_OI, {1}}, {"bias", bias_O, {}}};
  call.input = {-1};
  call.x = {t.Integers({sizes.rows, sizes.in}, at::kDouble)};
  call.dy = {t.Integers({sizes.rows, sizes.out}, at::kDouble)};
  call.oracle = Linear;

  const int ranks = t.ranks();
  const at::Tensor x = call.x[0];
  const at::Tensor dy = call.dy[0];
  call.y_mistakes = [=](size_t, int rank) {
    const auto partial = [=](int r) {
      return Placement{-1}.PartOf(x, ranks, r).mm(Placement{1}.PartOf(weight_OI, ranks, r).t());
    };
    const auto whole = [=] { return x.mm(weight_OI.t()); };
    Label label;
    // With the bias among the first rank's: their sum is the output.
    for (int r = 0; r < ranks; ++r) label.summands.push_back(bias && r == 0 ? partial(r) + bias_O : partial(r));
    const std::string alone = "it is only this rank's summand; the ranks' must be added up";
    const std::string averaged = "the ranks' summands were averaged; the product is their sum";
    if (!bias) {
      label.hypotheses = {{alone, [=] { return partial(rank); }}, {averaged, [=] { return whole() / ranks; }}};
      return label;
    }
    label.hypotheses = {
        {alone + ", and the bias too", [=] { return partial(rank); }},
        {alone + " (an all-reduce)", [=] { return partial(rank) + bias_O; }},
        {"the bias was added before the sum and behind it", [=] { return whole() + bias_O * (ranks + 1); }},
        {averaged, [=] { return whole() / ranks + bias_O; }}};
    Append(label.hypotheses, BiasMistakes("the bias", ranks, whole, bias_O));
    return label;
  };
  call.dx_mistakes = [=](size_t, int rank) {
    Label label;
    label.hypotheses = {
        {fmt::format("it is {} times as large: the backward of the sum is the identity, since every rank holds "
                     "the whole gradient already",
                     ranks),
         [=] { return Placement{-1}.PartOf(dy.mm(weight_OI), ranks, rank) * ranks; }}};
    return label;
  };
  return call;
}

// The same layer run on other inputs as well. What is told of mistakes holds for the first.
LayerCall Twice(CaseContext& t, LayerCall call) {
  call.what += ", run twice";
  call.x.push_back(t.Integers(call.x[0].sizes().vec(), at::kDouble));
  call.dy.push_back(t.Integers(call.dy[0].sizes().vec(), at::kDouble));
  for (Mistakes* mistakes : {&call.y_mistakes, &call.dx_mistakes}) {
    if (*mistakes) *mistakes = [of = *mistakes](size_t step, int rank) { return step == 0 ? of(0, rank) : Label{}; };
  }
  return call;
}

// A layer that must not be made.
LayerCall Refused(CaseContext& t, const std::string& layer, const std::string& given,
                  const std::vector<int64_t>& weight_shape, const std::vector<int64_t>& bias_shape) {
  LayerCall call;
  call.what = fmt::format("{} returned although it was given {}",
                          layer == "column" ? "MakeColumnLinear" : "MakeRowLinear", given);
  call.params = {{"layer", layer}};
  call.weights = {{"weight", t.Integers(weight_shape, at::kDouble), {}},
                  {"bias", t.Integers(bias_shape, at::kDouble), {}}};
  return call;
}

}  // namespace

// ------------------------------------------------------------------------------------------------ values

SHARDLAB_CASE(linear, column_values, kValue, {1, 2, 3, 4}) {
  LayerCalls calls(t.ranks());
  for (const LinearSizes& sizes : kLinearSizes) {
    calls.Add(Column(t, sizes, /*whole=*/false));
    calls.Add(Column(t, sizes, /*whole=*/true));
  }
  calls.Add(Column(t, {4, 3, 2}, /*whole=*/false, /*bias=*/false));
  calls.Add(InFloat32(Column(t, {5, 3, 2}, /*whole=*/true)));
  calls.ExpectValuesOnly(t);
}

SHARDLAB_CASE(linear, row_values, kValue, {1, 2, 3, 4}) {
  LayerCalls calls(t.ranks());
  for (const LinearSizes& sizes : kLinearSizes) calls.Add(Row(t, sizes));
  calls.Add(Row(t, {3, 4, 2}, /*bias=*/false));
  calls.Add(InFloat32(Row(t, {3, 5, 2})));
  calls.ExpectValuesOnly(t);
}

// ------------------------------------------------------------------------------------------------ gradients

SHARDLAB_CASE(linear, column_gradients, kGradient, {1, 2, 3, 4}) {
  LayerCalls calls(t.ranks());
  for (const LinearSizes& sizes : kLinearSizes) {
    calls.Add(Column(t, sizes, /*whole=*/false));
    calls.Add(Column(t, sizes, /*whole=*/true));
  }
  calls.ExpectGradientsOnly(t);
}

SHARDLAB_CASE(linear, row_gradients, kGradient, {1, 2, 3, 4}) {
  LayerCalls calls(t.ranks());
  for (const LinearSizes& sizes : kLinearSizes) calls.Add(Row(t, sizes));
  calls.Add(Row(t, {4, 5, 2}, /*bias=*/false));
  calls.ExpectGradientsOnly(t);
}

// ------------------------------------------------------------------------------------------------ costs

SHARDLAB_CASE(linear, column_cost, kCost, {2, 3, 4}) {
  const LinearSizes sizes{7, 5, 3};
  LayerCalls calls(t.ranks());
  calls.Add(Column(t, sizes, /*whole=*/false));
  calls.Add(Column(t, sizes, /*whole=*/true));
  const Run run = calls.Launch(t);
  const auto gather = [&](int rank) {
    return std::vector<Collective>{{OpKind::kAllGather, sizes.rows * SplitRange(sizes.out, t.ranks(), rank).size()}};
  };
  const auto reduce = [&](int) { return std::vector<Collective>{{OpKind::kAllReduce, sizes.rows * sizes.in}}; };
  ExpectCollectives(t, run, "backward of " + calls.call(0).what, "backward 0.0", "end 0.0", reduce);
  ExpectCollectives(t, run, "forward of " + calls.call(0).what, "forward 0.0", "backward 0.0", NoCollectives);
  ExpectCollectives(t, run, "forward of " + calls.call(1).what, "forward 1.0", "backward 1.0", gather);
  ExpectCollectives(t, run, "backward of " + calls.call(1).what, "backward 1.0", "end 1.0", reduce);
}

SHARDLAB_CASE(linear, row_cost, kCost, {2, 3, 4}) {
  const LinearSizes sizes{7, 5, 3};
  LayerCalls calls(t.ranks());
  calls.Add(Row(t, sizes));
  const Run run = calls.Launch(t);
  ExpectCollectives(t, run, "forward of " + calls.call(0).what, "forward 0.0", "backward 0.0", [&](int) {
    return std::vector<Collective>{{OpKind::kAllReduce, sizes.rows * sizes.out}};
  });
  ExpectCollectives(t, run, "backward of " + calls.call(0).what, "backward 0.0", "end 0.0", NoCollectives);
}

SHARDLAB_CASE(linear, memory, kCost, {2}) {
  LayerCalls calls(t.ranks());
  const LinearSizes sizes{48, 64, 32};
  calls.Add(Twice(t, Column(t, sizes, /*whole=*/true)));
  calls.Add(Twice(t, Row(t, sizes)));
  calls.ExpectMemory(t);
}

// ------------------------------------------------------------------------------------------------ robustness

SHARDLAB_CASE(linear, input_without_gradient, kRobustness, {2, 3, 4}) {
  LayerCalls calls(t.ranks());
  calls.Add(WithoutInputGradient(Column(t, {5, 3, 2}, /*whole=*/true)));
  calls.Add(WithoutInputGradient(Row(t, {3, 5, 2})));
  const Run run = calls.ExpectAll(t);
  ExpectCollectives(t, run, "backward of " + calls.call(0).what, "backward 0.0", "end 0.0", NoCollectives);
}

SHARDLAB_CASE(linear, evaluation_and_strides, kRobustness, {1, 3}) {
  LayerCalls calls(t.ranks());
  for (const LayerCall& call : {Column(t, {5, 4, 3}, /*whole=*/true), Row(t, {4, 5, 3})}) {
    calls.Add(NonContiguous(call));
    calls.Add(WithoutAutograd(call));
  }
  calls.ExpectAll(t);
}

SHARDLAB_CASE(linear, more_dimensions, kRobustness, {2, 3}) {
  LayerCalls calls(t.ranks());
  for (const bool whole : {false, true}) {
    calls.Add(WithRowsAs(Column(t, {5, 4, 6}, whole), {2, 3}));
    calls.Add(WithRowsAs(Column(t, {5, 4, 1}, whole), {}));
  }
  calls.Add(WithRowsAs(Column(t, {5, 4, 6}, /*whole=*/true), {1, 3, 2}));
  for (const std::vector<int64_t>& rows : {std::vector<int64_t>{2, 3}, {1, 3, 2}}) {
    calls.Add(WithRowsAs(Row(t, {4, 5, 6}), rows));
  }
  calls.Add(WithRowsAs(Row(t, {4, 5, 1}), {}));
  calls.ExpectAll(t);
}

// All layers alive and run before the first backward, each on its own communicator.
SHARDLAB_CASE(linear, layers_used_together, kRobustness, {4}) {
  LayerCalls calls(t.ranks());
  const LinearSizes sizes{5, 7, 3};
  for (const int groups : {1, 2}) {
    for (const LayerCall& call : {Column(t, sizes, /*whole=*/true), Row(t, sizes)}) {
      calls.Add(groups == 1 ? Twice(t, call) : OnGroups(Twice(t, call), groups));
    }
  }
  calls.spec.params["together"] = true;
  calls.ExpectShards(t);
  calls.ExpectAll(t);
}

SHARDLAB_CASE(linear, refuses_weights_that_do_not_fit, kRobustness, {2}) {
  LayerCalls calls(t.ranks());
  for (const char* layer : {"column", "row"}) {
    calls.Add(Refused(t, layer, "a weight [4, 3] and a bias [3]", {4, 3}, {3}));
    calls.Add(Refused(t, layer, "a weight [4, 3] and a bias [4, 1]", {4, 3}, {4, 1}));
    calls.Add(Refused(t, layer, "a weight [4]", {4}, {4}));
    calls.Add(Refused(t, layer, "a weight [4, 3, 2]", {4, 3, 2}, {4}));
  }
  calls.ExpectRefused(t);
}

SHARDLAB_CASE(linear, late_messages, kRobustness, {3}) {
  LayerCalls calls(t.ranks());
  calls.Add(Column(t, {5, 7, 3}, /*whole=*/true));
  calls.Add(Row(t, {5, 7, 3}));
  calls.spec.faults = LateMessages(t, 0.005);
  calls.ExpectAll(t);
}

}  // namespace shardlab::grade
