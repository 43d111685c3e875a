#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "kit/hypotheses.hpp"
#include "kit/traffic.hpp"
#include "kit/words.hpp"
#include "layer_calls.hpp"

// Part norms: LayerNorm and RMSNorm of features that are cut. The oracles are LibTorch's own norms on the whole tensor.

namespace shardlab::grade {
namespace {

constexpr double kLayerNormEps = 1e-3;

struct NormSizes {
  int64_t features;
  int64_t rows;
};

// Divisible, odd, fewer features than ranks, one row.
const std::vector<NormSizes> kNormSizes = {{8, 4}, {7, 3}, {2, 3}, {5, 1}};

// Of the last dimension, which stays as 1. Tensor::var is the same, and in LibTorch 2 it warns when there is no row.
at::Tensor Variance(const at::Tensor& x) { return (x - x.mean(-1, true)).square().mean(-1, true); }

// What the gradient is when the backward of the statistics goes on to another forward's x.
const char* const kAnotherForward =
    "its backward goes on with what a later forward of the same layer left behind: each forward remembers its own x";

// `steps` forwards of one layer.
LayerCall LayerNorm(CaseContext& t, const NormSizes& sizes, int steps = 1) {
  LayerCall call;
  call.what = fmt::format("MakeShardedLayerNorm (D = {}, {})", sizes.features, Count(sizes.rows, "row"));
  call.params = {{"layer", "layer_norm"}, {"eps", kLayerNormEps}};
  call.exact = false;
  call.weights = {{"weight", t.Normal({sizes.features}) + 2, {0}}, {"bias", t.Normal({sizes.features}), {0}}};
  call.input = {-1};
  call.output = {-1};
  // Rows of different places and widths: statistics of another row, or of all rows together, must show.
  for (int step = 0; step < steps; ++step) {
    call.x.push_back(t.Normal({sizes.rows, sizes.features}) * (1 + t.Normal({sizes.rows, 1}).abs()) +
                     t.Normal({sizes.rows, 1}));
    call.dy.push_back(t.Normal({sizes.rows, sizes.features}));
  }
  call.oracle = [](const Weights& weights, const at::Tensor& x) {
    return at::layer_norm(x, {x.size(-1)}, weights.at("weight"), weights.at("bias"), kLayerNormEps);
  };

  const int ranks = t.ranks();
  const std::vector<at::Tensor> xs = call.x;
  const std::vector<at::Tensor> dys = call.dy;
  const at::Tensor gamma = call.weights[0].full;
  const at::Tensor beta = call.weights[1].full;
  const auto part = [=](const at::Tensor& full, int rank) { return Placement{-1}.PartOf(full, ranks, rank); };
  call.y_mistakes = [=](size_t step, int rank) {
    const at::Tensor& x = xs[step];
    const auto with = [=](const at::Tensor& mean, const at::Tensor& var) {
      return (part(x, rank) - mean) / (var + kLayerNormEps).sqrt() * part(gamma, rank) + part(beta, rank);
    };
    const at::Tensor mean = x.mean(-1, true);
    const at::Tensor var = Variance(x);
    const auto affine = [=](const at::Tensor& normed) { return normed * part(gamma, rank) + part(beta, rank); };
    Label label;
    label.hypotheses = {
        LocalStatistics([=] { return with(part(x, rank).mean(-1, true), Variance(part(x, rank))); }),
        {"the variance is the mean of the ranks' variances, which forgets how far the ranks' means lie apart",
         [=] {
           at::Tensor m2 = at::zeros_like(var);
           for (int r = 0; r < ranks; ++r) {
             if (part(x, r).size(-1) > 0) m2 = m2 + Variance(part(x, r)) * part(x, r).size(-1);
           }
           return with(mean, m2 / x.size(-1));
         }},
        UnbiasedVariance("D", [=] { return with(mean, x.var(-1, true, true)); }),
        {"eps is missing under the root", [=] { return affine((part(x, rank) - mean) / var.sqrt()); }},
        {"eps stands behind the root: it belongs under it",
         [=] { return affine((part(x, rank) - mean) / (var.sqrt() + kLayerNormEps)); }},
        {"the bias is missing", [=] { return with(mean, var) - part(beta, rank); }},
        {"the weight is missing",
         [=] { return (part(x, rank) - mean) / (var + kLayerNormEps).sqrt() + part(beta, rank); }}};
    return label;
  };
  call.dx_mistakes = [=](size_t step, int rank) {
    const at::Tensor &x = xs[step], &dy = dys[step];
    const at::Tensor rstd = (Variance(x) + kLayerNormEps).rsqrt();
    const at::Tensor normed = (x - x.mean(-1, true)) * rstd;
    const at::Tensor g = dy * gamma;
    const auto from = [=](const at::Tensor& sum_of_g, const at::Tensor& sum_of_both, int64_t count) {
      return rstd * (part(g, rank) - sum_of_g / count - part(normed, rank) * sum_of_both / count);
    };
    const int64_t mine = part(x, rank).size(-1);
    Label label;
    label.hypotheses = {
        {"the sums over the features are this rank's own; every rank's output depends on the mean and the variance, so "
         "their gradients must be added up (an all-reduce of two numbers a row)",
         [=] { return from(part(g, rank).sum(-1, true), part(g * normed, rank).sum(-1, true), x.size(-1)); }},
        {"it misses that the mean and the variance depend on the input too", [=] { return rstd * part(g, rank); }},
        {"the sums over all features are divided by this rank's d features, and not by D",
         [=] { return from(g.sum(-1, true), (g * normed).sum(-1, true), mine); }},
        {"the sums over the features are this rank's own, divided by this rank's d features: its gradients must be "
         "added up "
         "over the ranks, and divided by D",
         [=] { return from(part(g, rank).sum(-1, true), part(g * normed, rank).sum(-1, true), mine); }}};
    for (size_t later = step + 1; later < xs.size(); ++later) {
      label.hypotheses.push_back({kAnotherForward, [=] {
                                    const at::Tensor other = xs[later] - xs[later].mean(-1, true);
                                    const at::Tensor through_mean = (g * rstd).sum(-1, true);
                                    const at::Tensor through_var = (g * normed).sum(-1, true) * rstd.square();
                                    const auto features = static_cast<double>(other.size(-1));
                                    return part(g * rstd - (through_mean + through_var * other) / features, rank);
                                  }});
    }
    return label;
  };
  return call;
}

LayerCall RmsNorm(CaseContext& t, const NormSizes& sizes, int steps = 1) {
  LayerCall call = LayerNorm(t, sizes, steps);
  call.what = fmt::format("MakeShardedRmsNorm (D = {}, {})", sizes.features, Count(sizes.rows, "row"));
  call.params["layer"] = "rms_norm";
  call.weights.pop_back();
  call.oracle = [](const Weights& weights, const at::Tensor& x) {
    return x * (x.square().mean(-1, true) + kLayerNormEps).rsqrt() * weights.at("weight");
  };
  const int ranks = t.ranks();
  const std::vector<at::Tensor> xs = call.x;
  const std::vector<at::Tensor> dys = call.dy;
  const at::Tensor gamma = call.weights[0].full;
  const auto part = [=](const at::Tensor& full, int rank) { return Placement{-1}.PartOf(full, ranks, rank); };
  call.y_mistakes = [=](size_t step, int rank) {
    const at::Tensor& x = xs[step];
    const auto with = [=](const at::Tensor& mean_square) {
      return part(x, rank) * (mean_square + kLayerNormEps).rsqrt() * part(gamma, rank);
    };
    const auto sum = [=] { return x.square().sum(-1, true); };
    Label label;
    label.hypotheses = {
        LocalStatistics([=] { return with(part(x, rank).square().mean(-1, true)); }),
        {"the sum of squares is not divided by D", [=] { return with(sum()); }},
        {"the sum of squares is divided by this rank's d features, and not by D",
         [=] { return with(sum() / part(x, rank).size(-1)); }},
        {"the sum of squares is this rank's own, divided by D",
         [=] { return with(part(x, rank).square().sum(-1, true) / x.size(-1)); }},
        {"eps stands behind the root: it belongs under it",
         [=] { return part(x, rank) / (x.square().mean(-1, true).sqrt() + kLayerNormEps) * part(gamma, rank); }}};
    return label;
  };
  call.dx_mistakes = [=](size_t step, int rank) {
    const at::Tensor &x = xs[step], &dy = dys[step];
    const at::Tensor rstd = (x.square().mean(-1, true) + kLayerNormEps).rsqrt();
    const at::Tensor normed = x * rstd;
    const at::Tensor g = dy * gamma;
    const auto from = [=](const at::Tensor& sum, int64_t count) {
      return rstd * (part(g, rank) - part(normed, rank) * sum / count);
    };
    const auto own = [=] { return part(g * normed, rank).sum(-1, true); };
    Label label;
    label.hypotheses = {
        {"the sum over the features is this rank's own; every rank's output depends on the mean square, so its "
         "gradient must "
         "be added up (an all-reduce of one number a row)",
         [=] { return from(own(), x.size(-1)); }},
        {"it misses that the mean square depends on the input too", [=] { return rstd * part(g, rank); }},
        {"the sum over all features is divided by this rank's d features, and not by D",
         [=] { return from((g * normed).sum(-1, true), part(x, rank).size(-1)); }}};
    for (size_t later = step + 1; later < xs.size(); ++later) {
      label.hypotheses.push_back({kAnotherForward, [=] {
                                    const at::Tensor through = (g * normed).sum(-1, true) * rstd.square();
                                    return part(g * rstd - through * xs[later] / x.size(-1), rank);
                                  }});
    }
    return label;
  };
  return call;
}

}  // namespace

SHARDLAB_CASE(norms, layer_norm_values, kValue, {1, 2, 3, 4}) {
  LayerCalls calls(t.ranks());
  for (const NormSizes& sizes : kNormSizes) calls.Add(LayerNorm(t, sizes));
  calls.ExpectValuesOnly(t);
}

SHARDLAB_CASE(norms, rms_norm_values, kValue, {1, 2, 3, 4}) {
  LayerCalls calls(t.ranks());
  for (const NormSizes& sizes : kNormSizes) calls.Add(RmsNorm(t, sizes));
  calls.ExpectValuesOnly(t);
}

SHARDLAB_CASE(norms, layer_norm_gradients, kGradient, {1, 2, 3, 4}) {
  LayerCalls calls(t.ranks());
  for (const NormSizes& sizes : kNormSizes) calls.Add(LayerNorm(t, sizes));
  calls.ExpectGradientsOnly(t);
}

SHARDLAB_CASE(norms, rms_norm_gradients, kGradient, {1, 2, 3, 4}) {
  LayerCalls calls(t.ranks());
  for (const NormSizes& sizes : kNormSizes) calls.Add(RmsNorm(t, sizes));
  calls.ExpectGradientsOnly(t);
}

SHARDLAB_CASE(norms, layer_norm_cost, kCost, {2, 3, 4}) {
  LayerCalls calls(t.ranks());
  const NormSizes sizes{7, 5};
  calls.Add(LayerNorm(t, sizes));
  calls.Add(RmsNorm(t, sizes));
  const Run run = calls.Launch(t);
  for (int i = 0; i < 2; ++i) {
    const int64_t elements = sizes.rows * (2 - i);  // LayerNorm two numbers a row, RMSNorm one
    const auto one = [&](int) { return std::vector<Collective>{{OpKind::kAllReduce, elements}}; };
    const std::string number = std::to_string(i) + ".0";
    ExpectCollectives(t, run, "backward of " + calls.call(i).what, "backward " + number, "end " + number, one);
    ExpectCollectives(t, run, "forward of " + calls.call(i).what, "forward " + number, "backward " + number, one,
                      /*any_kind=*/true);
  }
}

SHARDLAB_CASE(norms, layer_norm_far_from_zero, kRobustness, {1, 2, 3}) {
  constexpr int64_t kFeatures = 48;
  LayerCalls calls(t.ranks());
  LayerCall call = LayerNorm(t, {kFeatures, 3});
  call.what = "MakeShardedLayerNorm (float32, mean 1000, variance 1)";
  call.x = {(t.Normal({3, kFeatures}) + 1000).to(at::kFloat)};
  call.dy = {at::Tensor()};
  call.weights = {{"weight", at::ones({kFeatures}, at::kFloat), {0}},
                  {"bias", at::zeros({kFeatures}, at::kFloat), {0}}};
  calls.Add(call);
  const Run run = calls.Launch(t);
  const at::Tensor x = call.x[0].to(at::kDouble);
  const at::Tensor expected = at::layer_norm(x, {kFeatures}, {}, {}, kLayerNormEps);
  const auto spread = [](const at::Tensor& row) { return (row - row.mean()).square().sum().item().toDouble(); };
  for (int rank = 0; rank < t.ranks(); ++rank) {
    const at::Tensor got = run.Output(rank, "0.y0");
    const at::Tensor part = Placement{-1}.PartOf(expected, t.ranks(), rank);
    t.Expect(
        got.defined() && got.sizes() == part.sizes() && got.scalar_type() == at::kFloat,
        fmt::format("the output of {} on rank {} is not float32 {}", call.what, rank, ShapeName(part.sizes().vec())));
    for (int64_t row = 0; row < 3; ++row) {
      // y = (x - mean) / sqrt(var + eps): how x spreads over how y spreads says which variance was used.
      const at::Tensor x_d = Placement{-1}.PartOf(x, t.ranks(), rank)[row];
      const double variance = spread(x_d) / spread(got[row].to(at::kDouble)) - kLayerNormEps;
      const double right = x[row].var(/*unbiased=*/false).item().toDouble();
      const double own = x_d.var(/*unbiased=*/false).item().toDouble();
      const bool is_own = t.ranks() > 1 && std::abs(variance - own) < 1e-2 * own;
      const double off = (got[row].to(at::kDouble) - part[row]).abs().max().item().toDouble();
      t.Expect(
          off < 5e-3,
          fmt::format("{}: row {} on rank {} was normalised by a variance of about {:.4g}; it must be {:.4g}: {}",
                      call.what, row, rank, variance, right,
                      is_own ? LocalStatistics(nullptr).meaning
                             : "in float32 the mean of the squares less the square of the mean has no digits left; "
                               "merge the ranks' (mean, m2) instead"));
    }
  }
}

SHARDLAB_CASE(norms, layer_norm_awkward_inputs, kRobustness, {1, 2, 4}) {
  LayerCalls calls(t.ranks());
  for (const LayerCall& call : {LayerNorm(t, {7, 4}), RmsNorm(t, {7, 4})}) {
    calls.Add(NonContiguous(call));
    calls.Add(WithoutInputGradient(call));
    calls.Add(WithRowsAs(call, {2, 2}));
    calls.Add(WithoutAutograd(call));
  }
  LayerCall one_feature = LayerNorm(t, {1, 2});
  one_feature.dy = {at::Tensor()};  // the gradient of a constant is rounding in any program
  calls.Add(one_feature);
  calls.Add(RmsNorm(t, {1, 2}));
  calls.Add(LayerNorm(t, {5, 0}));
  for (const LayerCall& call : {LayerNorm(t, {7, 1}), RmsNorm(t, {7, 1})}) calls.Add(WithRowsAs(call, {}));
  calls.spec.faults = LateMessages(t, 0.003);
  const Run run = calls.ExpectAll(t);
  for (const int i : {1, 5}) {
    const std::string number = std::to_string(i) + ".0";
    ExpectCollectives(t, run, "backward of " + calls.call(i).what, "backward " + number, "end " + number,
                      NoCollectives);
  }
}

// All layers alive and run three times before the first backward, each on its own communicator.
SHARDLAB_CASE(norms, layer_norms_used_together, kRobustness, {4}) {
  LayerCalls calls(t.ranks());
  calls.Add(LayerNorm(t, {7, 3}, /*steps=*/3));
  calls.Add(RmsNorm(t, {7, 3}, /*steps=*/3));
  calls.Add(OnGroups(LayerNorm(t, {7, 3}, /*steps=*/2), 2));
  calls.Add(OnGroups(RmsNorm(t, {7, 3}, /*steps=*/2), 2));
  calls.spec.params["together"] = true;
  calls.ExpectAll(t);
}

SHARDLAB_CASE(norms, layer_norm_in_float32, kRobustness, {2}) {
  LayerCalls calls(t.ranks());
  calls.Add(InFloat32(LayerNorm(t, {7, 4})));
  calls.Add(InFloat32(RmsNorm(t, {7, 4})));
  calls.ExpectAll(t);
}

SHARDLAB_CASE(norms, layer_norm_memory, kCost, {2}) {
  LayerCalls calls(t.ranks());
  calls.Add(LayerNorm(t, {512, 8}, /*steps=*/2));
  calls.Add(RmsNorm(t, {512, 8}, /*steps=*/2));
  calls.ExpectMemory(t);
}

SHARDLAB_CASE(norms, refuses_weights_that_do_not_fit, kRobustness, {2}) {
  LayerCalls calls(t.ranks());
  const auto add = [&](const char* function, const char* layer, const char* given, const std::vector<int64_t>& gamma,
                       const std::vector<int64_t>& beta) {
    LayerCall call;
    call.what = fmt::format("{} returned although it was given {}", function, given);
    call.params = {{"layer", layer}, {"eps", kLayerNormEps}, {"momentum", 0.1}};
    call.weights = {{"weight", t.Normal(gamma), {}}, {"bias", t.Normal(beta), {}}};
    calls.Add(call);
  };
  const auto add_pair = [&](const char* function, const char* layer) {
    add(function, layer, "a gamma of 4 and a beta of 3", {4}, {3});
    add(function, layer, "a gamma of 4 and a beta of 1", {4}, {1});
    add(function, layer, "a gamma [2, 2] and a beta [2, 2]", {2, 2}, {2, 2});
  };
  add_pair("MakeShardedLayerNorm", "layer_norm");
  add("MakeShardedLayerNorm", "layer_norm", "no feature", {0}, {0});
  add("MakeShardedRmsNorm", "rms_norm", "a gamma [2, 2]", {2, 2}, {});
  add("MakeShardedRmsNorm", "rms_norm", "no feature", {0}, {});
  add_pair("MakeFeatureBatchNorm", "feature_batch_norm");
  add_pair("MakeSampleBatchNorm", "sample_batch_norm");
  LayerCall one_value;
  one_value.what = "MakeSampleBatchNorm went on in training with one value a channel on all ranks together";
  one_value.params = {{"layer", "sample_batch_norm"}, {"eps", kLayerNormEps}, {"momentum", 0.1}};
  one_value.weights = {{"weight", t.Normal({3}), {}}, {"bias", t.Normal({3}), {}}};
  one_value.input = {0, {0, 1}};
  one_value.x = {t.Normal({1, 3})};
  one_value.dy = {at::Tensor()};
  one_value.oracle = [](const Weights&, const at::Tensor& x) { return x; };
  calls.Add(one_value);
  calls.ExpectRefused(t);
}

}  // namespace shardlab::grade
