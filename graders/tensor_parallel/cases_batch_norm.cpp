#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "kit/hypotheses.hpp"
#include "kit/parts.hpp"
#include "kit/traffic.hpp"
#include "kit/words.hpp"
#include "layer_calls.hpp"
#include "shardlab/base/split.hpp"

// Part norms: BatchNorm of features and of samples that are cut. The oracle is LibTorch's own norm on the whole tensor.

namespace shardlab::grade {
namespace {

constexpr double kBatchNormEps = 1e-3;
constexpr double kMomentum = 0.25;

constexpr int kTrainingSteps = 2;

// In the first step, when they are still 0 and 1.
const char* const kRunningInTraining =
    "these are the running statistics: in training the batch's belong, with autograd or without";

// [channels, values]: everything that one channel's statistics are made of.
at::Tensor ByChannel(const at::Tensor& x) { return x.transpose(0, 1).flatten(1); }

// A running statistic after the training steps.
at::Tensor Tracked(const at::Tensor& initial, double weight_of_newest,
                   const std::function<at::Tensor(int step)>& newest) {
  at::Tensor value = initial;
  for (int step = 0; step < kTrainingSteps; ++step) {
    value = value * (1 - weight_of_newest) + newest(step) * weight_of_newest;
  }
  return value;
}

// What a running statistic may be. `of`: what a rank's statistics are made of, [channels, values] a step; `own`: of the
// rank's own values.
std::vector<Hypothesis> BufferMistakes(const std::string& name, const std::function<at::Tensor(int step)>& of,
                                       const std::function<at::Tensor(int step)>& own) {
  const bool mean = name == "running_mean";
  if (!mean && name != "running_var") return {};
  const auto statistic = [=](const at::Tensor& values) {
    return mean ? values.mean(1) : values.var(1, /*unbiased=*/true);
  };
  const auto initial = [=] {
    return mean ? at::zeros({of(0).size(0)}, at::kDouble) : at::ones({of(0).size(0)}, at::kDouble);
  };
  std::vector<Hypothesis> all = {
      {"momentum is the weight of the newest batch, and here it is the weight of what was before",
       [=] { return Tracked(initial(), 1 - kMomentum, [=](int step) { return statistic(of(step)); }); }},
      {"it holds the statistics of the newest batch alone", [=] { return statistic(of(kTrainingSteps - 1)); }},
      {"it is never updated", initial},
      {"it holds the statistics of this rank's own samples: those of all ranks' are meant", [=] {
         return own ? Tracked(initial(), kMomentum, [=](int step) { return statistic(own(step)); }) : at::Tensor();
       }}};
  if (!mean) {
    const std::string meaning =
        "the running variance is not multiplied by N / (N - 1): the running variance is the unbiased one, N being the "
        "values of "
        "a channel on all ranks";
    all.push_back(
        {meaning, [=] { return Tracked(initial(), kMomentum, [=](int step) { return of(step).var(1, false); }); }});
    all.push_back({"it holds the statistics of this rank's own samples, and its variance is the biased one", [=] {
                     return own ? Tracked(initial(), kMomentum, [=](int step) { return own(step).var(1, false); })
                                : at::Tensor();
                   }});
  }
  return all;
}

// BatchNorm in one process: two batches in training and one in evaluation.
LayerCall BatchNorm(CaseContext& t, const std::string& function, const std::vector<int64_t>& shape) {
  LayerCall call;
  call.what = fmt::format("{} (x {})", function, ShapeName(shape));
  call.params = {{"eps", kBatchNormEps}, {"momentum", kMomentum}, {"training", {true, true, false}}};
  call.exact = false;
  const int64_t channels = shape[1];
  for (int step = 0; step < 3; ++step) {
    call.x.push_back(t.Normal(shape) + 3);
    call.dy.push_back(t.Normal(shape));
  }
  struct State {
    int steps = 0;
    at::Tensor mean;
    at::Tensor var;
  };
  auto state = std::make_shared<State>();
  call.oracle = [state](const Weights& weights, const at::Tensor& x) {
    if (state->steps == 0) {
      state->mean = at::zeros({x.size(1)}, x.options().requires_grad(false));
      state->var = at::ones_like(state->mean);
    }
    const bool training = state->steps++ < kTrainingSteps;
    return at::batch_norm(x, weights.at("weight"), weights.at("bias"), state->mean, state->var, training, kMomentum,
                          kBatchNormEps,
                          /*cudnn_enabled=*/false);
  };
  call.buffers = [state] {
    return std::vector<Weight>{{"running_mean", state->mean, {}},
                               {"running_var", state->var, {}},
                               {"num_batches_tracked", at::scalar_tensor(kTrainingSteps, at::kLong), {}}};
  };
  call.weights = {{"weight", t.Normal({channels}) + 2, {}}, {"bias", t.Normal({channels}), {}}};
  return call;
}

LayerCall FeatureBatchNorm(CaseContext& t, const std::vector<int64_t>& shape) {
  LayerCall call = BatchNorm(t, "MakeFeatureBatchNorm", shape);
  call.params["layer"] = "feature_batch_norm";
  call.input = {1};
  call.output = {1};
  for (Weight& weight : call.weights) weight.placement = {0};
  call.buffers = [whole = call.buffers] {
    std::vector<Weight> buffers = whole();
    buffers[0].placement = {0};
    buffers[1].placement = {0};
    return buffers;
  };
  const int ranks = t.ranks();
  const std::vector<at::Tensor> x = call.x;
  call.buffer_mistakes = [=](const std::string& name, int rank) {
    return BufferMistakes(
        name, [=](int step) { return ByChannel(Placement{1}.PartOf(x[static_cast<size_t>(step)], ranks, rank)); },
        nullptr);
  };
  const at::Tensor gamma = call.weights[0].full;
  const at::Tensor beta = call.weights[1].full;
  call.y_mistakes = [=](size_t step, int rank) {
    const auto part = [=](const at::Tensor& full, int64_t dim) { return Placement{dim}.PartOf(full, ranks, rank); };
    const auto with = [=](const at::Tensor& mean, const at::Tensor& var) {
      return at::batch_norm(part(x[step], 1), part(gamma, 0), part(beta, 0), mean, var, /*training=*/false, 0,
                            kBatchNormEps, false);
    };
    const auto values = [=] { return ByChannel(part(x[step], 1)); };
    Label label;
    if (step < kTrainingSteps) {
      label.hypotheses = {
          UnbiasedVariance("n", [=] { return with(values().mean(1), values().var(1, true)); }),
          {kRunningInTraining, [=] { return with(at::zeros_like(part(gamma, 0)), at::ones_like(part(gamma, 0))); }}};
    } else {
      label.hypotheses = {{"these are the batch's statistics: in evaluation the running statistics are used",
                           [=] { return with(values().mean(1), values().var(1, false)); }}};
    }
    return label;
  };
  return call;
}

// `counts`: how many samples each rank has.
LayerCall SampleBatchNorm(CaseContext& t, const std::vector<int64_t>& shape, const std::vector<int64_t>& counts) {
  LayerCall call = BatchNorm(t, "MakeSampleBatchNorm", shape);
  call.what += fmt::format(", {} samples", fmt::join(counts, " + "));
  call.params["layer"] = "sample_batch_norm";
  call.input = {0, counts};
  call.output = {0, counts};
  call.gradients_of_own_rows = true;

  const int ranks = t.ranks();
  const std::vector<at::Tensor> xs = call.x;
  const std::vector<at::Tensor> dys = call.dy;
  const at::Tensor gamma = call.weights[0].full;
  const at::Tensor beta = call.weights[1].full;
  const auto part = [=](const at::Tensor& full, int rank) { return Placement{0, counts}.PartOf(full, ranks, rank); };
  call.buffer_mistakes = [=](const std::string& name, int rank) {
    const auto x = [=](int step) { return xs[static_cast<size_t>(step)]; };
    return BufferMistakes(
        name, [=](int step) { return ByChannel(x(step)); }, [=](int step) { return ByChannel(part(x(step), rank)); });
  };
  call.y_mistakes = [=](size_t step, int rank) {
    const at::Tensor x = xs[step];
    const auto with = [=](const at::Tensor& mean, const at::Tensor& var) {
      return at::batch_norm(part(x, rank), gamma, beta, mean, var, /*training=*/false, 0, kBatchNormEps, false);
    };
    const auto rows = [=](int r) { return ByChannel(part(x, r)); };
    const auto all = [=] { return ByChannel(x); };
    // Of the ranks that have samples, their own statistics: [ranks, channels].
    const auto each = [=](const std::function<at::Tensor(const at::Tensor&)>& statistic) {
      std::vector<at::Tensor> values;
      for (int r = 0; r < ranks; ++r) {
        if (rows(r).size(1) > 0) values.push_back(statistic(rows(r)));
      }
      return at::stack(values);
    };
    const auto mean_of = [](const at::Tensor& values) { return values.mean(1); };
    const auto var_of = [](const at::Tensor& values) { return values.var(1, false); };
    const auto m2_of = [](const at::Tensor& values) { return values.var(1, false) * values.size(1); };
    Label label;
    if (step >= kTrainingSteps) {
      label.hypotheses = {
          {"these are the batch's statistics: in evaluation the running statistics are used",
           [=] { return with(mean_of(all()), var_of(all())); }},
          {"these are the statistics of this rank's own samples: in evaluation the running statistics are used",
           [=] { return with(mean_of(rows(rank)), var_of(rows(rank))); }}};
      return label;
    }
    const std::string alike = "the merge counted every rank alike, whatever its number of samples";
    label.hypotheses = {
        LocalStatistics([=] { return with(mean_of(rows(rank)), var_of(rows(rank))); }),
        {"the ranks' means and variances were averaged; they have different numbers of samples, and their "
         "means lie apart (merge the moments by their counts)",
         [=] { return with(each(mean_of).mean(0), each(var_of).mean(0)); }},
        {"the variance is the mean of the ranks' variances, which forgets how far their means lie apart",
         [=] { return with(mean_of(all()), each(var_of).mean(0)); }},
        {"the variance is the mean of the ranks' variances by their counts, which forgets how far their means lie "
         "apart",
         [=] { return with(mean_of(all()), each(m2_of).sum(0) / all().size(1)); }},
        {alike,
         [=] {
           const at::Tensor mean = each(mean_of).mean(0);
           return with(mean, each(var_of).mean(0) + (each(mean_of) - mean).square().mean(0));
         }},
        {alike,
         [=] {  // with the rank's own count for all of them
           const at::Tensor mean = each(mean_of).mean(0);
           const auto own = static_cast<double>(rows(rank).size(1));
           const at::Tensor m2 = each(m2_of).sum(0) + own * (each(mean_of) - mean).square().sum(0);
           return with(mean, m2 / (own * ranks));
         }},
        {"samples are counted, and not values: an image has H*W values a channel",
         [=] {
           at::Tensor m2 = each(m2_of).sum(0);
           for (int r = 0; r < ranks; ++r) {
             if (counts[static_cast<size_t>(r)] == 0) continue;
             m2 = m2 +
                  static_cast<double>(counts[static_cast<size_t>(r)]) * (mean_of(rows(r)) - mean_of(all())).square();
           }
           return with(mean_of(all()), m2 / x.size(0));
         }},
        UnbiasedVariance("n", [=] { return with(mean_of(all()), all().var(1, true)); }),
        {kRunningInTraining, [=] { return with(at::zeros_like(gamma), at::ones_like(gamma)); }}};
    return label;
  };
  call.dx_mistakes = [=](size_t step, int rank) {
    Label label;
    if (step >= kTrainingSteps) return label;
    const at::Tensor x = xs[step];
    std::vector<int64_t> over{0};
    for (int64_t dim = 2; dim < x.dim(); ++dim) over.push_back(dim);
    std::vector<int64_t> shape(static_cast<size_t>(x.dim()), 1);
    shape[1] = gamma.size(0);
    const at::Tensor rstd = (ByChannel(x).var(1, false) + kBatchNormEps).rsqrt().view(shape);
    const at::Tensor normed = (x - ByChannel(x).mean(1).view(shape)) * rstd;
    const at::Tensor g = dys[step] * gamma.view(shape);
    const auto from = [=](const at::Tensor& g_of, const at::Tensor& both_of, int64_t count) {
      return rstd *
             (part(g, rank) - g_of.sum(over, true) / count - part(normed, rank) * both_of.sum(over, true) / count);
    };
    const int64_t values = ByChannel(x).size(1);
    const int64_t mine = ByChannel(part(x, rank)).size(1);
    label.hypotheses = {
        {"the sums over the samples are this rank's own; every rank's output depends on the mean and the variance, so "
         "their gradients must be added up (an all-reduce of 2C numbers)",
         [=] { return from(part(g, rank), part(g * normed, rank), values); }},
        {"the sums over the samples are this rank's own, and divided by their number: their gradients must be added up "
         "over the "
         "ranks",
         [=] { return from(part(g, rank), part(g * normed, rank), mine); }},
        {"the sums over all samples are divided by this rank's number of values, and not by all ranks'",
         [=] { return from(g, g * normed, mine); }},
        {"it misses that the mean and the variance depend on the input too", [=] { return rstd * part(g, rank); }}};
    for (size_t later = step + 1; later < kTrainingSteps; ++later) {
      label.hypotheses.push_back(
          {"its backward goes on with what a later forward of the same layer left behind: each forward remembers its "
           "own x",
           [=] {
             const at::Tensor other = xs[later] - ByChannel(xs[later]).mean(1).view(shape);
             const at::Tensor through_mean = (g * rstd).sum(over, true);
             const at::Tensor through_var = (g * normed).sum(over, true) * rstd.square();
             return part(g * rstd - (through_mean + through_var * other) / static_cast<double>(values), rank);
           }});
    }
    return label;
  };
  return call;
}

// Of a layer that has never been in training.
LayerCall EvaluatedFirst(LayerCall call) {
  call.what += ", evaluated before any training";
  call.params["training"] = {false};
  call.x = {call.x.back()};
  call.dy = {call.dy.back()};
  call.oracle = [](const Weights& weights, const at::Tensor& x) {
    const at::Tensor& gamma = weights.at("weight");
    return at::batch_norm(x, gamma, weights.at("bias"), at::zeros_like(gamma).detach(), at::ones_like(gamma).detach(),
                          /*training=*/false, kMomentum, kBatchNormEps, /*cudnn_enabled=*/false);
  };
  const int64_t channels = call.x[0].size(1);
  std::vector<Weight> buffers = {{"running_mean", at::zeros({channels}, at::kDouble), call.weights[0].placement},
                                 {"running_var", at::ones({channels}, at::kDouble), call.weights[0].placement},
                                 {"num_batches_tracked", at::scalar_tensor(0, at::kLong), {}}};
  call.buffers = [buffers] { return buffers; };
  call.buffer_mistakes = nullptr;
  call.dx_mistakes = nullptr;
  call.y_mistakes = [of = call.y_mistakes](size_t, int rank) { return of(kTrainingSteps, rank); };
  return call;
}

// Different numbers of samples; from two ranks on some rank has none when `with_empty`.
std::vector<int64_t> Counts(int ranks, bool with_empty) {
  std::vector<int64_t> counts;
  for (int rank = 0; rank < ranks; ++rank) counts.push_back(1 + 2 * rank);
  if (with_empty && ranks > 1) counts[1] = 0;
  return counts;
}

}  // namespace

SHARDLAB_CASE(norms, feature_batch_norm_values, kValue, {1, 2, 3, 4}) {
  LayerCalls calls(t.ranks());
  calls.Add(FeatureBatchNorm(t, {5, 8}));
  calls.Add(FeatureBatchNorm(t, {3, 5, 2, 3}));
  calls.ExpectValuesOnly(t);
}

SHARDLAB_CASE(norms, sample_batch_norm_values, kValue, {1, 2, 3, 4}) {
  LayerCalls calls(t.ranks());
  const std::vector<int64_t> counts = Counts(t.ranks(), /*with_empty=*/false);
  const int64_t samples = Total(counts);
  if (t.ranks() > 1) calls.Add(SampleBatchNorm(t, {samples, 3}, counts));
  calls.Add(SampleBatchNorm(t, {samples, 4, 2, 3}, counts));
  calls.Add(SampleBatchNorm(t, {8, 2}, SplitSizes(8, t.ranks())));
  calls.ExpectValuesOnly(t);
}

SHARDLAB_CASE(norms, feature_batch_norm_gradients, kGradient, {1, 2, 3}) {
  LayerCalls calls(t.ranks());
  calls.Add(FeatureBatchNorm(t, {5, 7}));
  calls.Add(FeatureBatchNorm(t, {3, 4, 2, 3}));
  calls.ExpectGradientsOnly(t);
}

SHARDLAB_CASE(norms, sample_batch_norm_gradients, kGradient, {1, 2, 3, 4}) {
  LayerCalls calls(t.ranks());
  const std::vector<int64_t> counts = Counts(t.ranks(), /*with_empty=*/false);
  calls.Add(SampleBatchNorm(t, {Total(counts), 4, 2, 3}, counts));
  calls.Add(SampleBatchNorm(t, {9, 2}, SplitSizes(9, t.ranks())));
  calls.ExpectGradientsOnly(t);
}

SHARDLAB_CASE(norms, batch_norm_cost, kCost, {2, 3, 4}) {
  constexpr int64_t kChannels = 5;
  const std::vector<int64_t> counts = Counts(t.ranks(), /*with_empty=*/false);
  LayerCalls calls(t.ranks());
  calls.Add(FeatureBatchNorm(t, {4, kChannels}));
  calls.Add(SampleBatchNorm(t, {Total(counts), kChannels, 2, 2}, counts));
  const Run run = calls.Launch(t);
  ExpectCollectives(
      t, run, "forward of " + calls.call(1).what, "forward 1.0", "backward 1.0",
      [](int) {
        return std::vector<Collective>{{OpKind::kAllReduce, 2 * kChannels + 1}};
      },
      /*any_kind=*/true);
  ExpectCollectives(t, run, "backward of " + calls.call(1).what, "backward 1.0", "end 1.0", [](int) {
    return std::vector<Collective>{{OpKind::kAllReduce, 2 * kChannels}};
  });
  ExpectCollectives(t, run, "forward and backward of " + calls.call(0).what, "forward 0.0", "end 0.2", NoCollectives);
  ExpectCollectives(t, run, "evaluation with " + calls.call(1).what, "forward 1.2", "end 1.2", NoCollectives);
}

SHARDLAB_CASE(norms, batch_norm_awkward_inputs, kRobustness, {2, 3, 4}) {
  LayerCalls calls(t.ranks());
  const std::vector<int64_t> counts = Counts(t.ranks(), /*with_empty=*/true);
  std::vector<int64_t> last_only(static_cast<size_t>(t.ranks()), 0);
  last_only.back() = 3;
  LayerCall empty_rank = SampleBatchNorm(t, {Total(counts) + 1, 3}, [&] {
    std::vector<int64_t> more = counts;
    more[0] += 1;
    return more;
  }());
  const LayerCall strided = SampleBatchNorm(t, {Total(counts), 3, 2, 2}, counts);
  const LayerCall no_gradient = SampleBatchNorm(t, {6, 3}, SplitSizes(6, t.ranks()));
  calls.Add(empty_rank);
  calls.Add(SampleBatchNorm(t, {3, 2}, last_only));
  calls.Add(NonContiguous(strided));
  calls.Add(WithoutInputGradient(no_gradient));
  calls.Add(FeatureBatchNorm(t, {4, 1}));  // most ranks have no channel
  for (const LayerCall& call : {SampleBatchNorm(t, {6, 3}, SplitSizes(6, t.ranks())), FeatureBatchNorm(t, {4, 5})}) {
    calls.Add(WithoutAutograd(call));
    calls.Add(EvaluatedFirst(call));
  }
  calls.spec.faults = LateMessages(t, 0.003);
  const Run run = calls.ExpectAll(t);
  ExpectCollectives(t, run, "backward of " + calls.call(3).what, "backward 3.0", "end 3.0", NoCollectives);
}

// Two batches in training and one in evaluation before the first backward.
SHARDLAB_CASE(norms, batch_norms_used_together, kRobustness, {4}) {
  LayerCalls calls(t.ranks());
  calls.Add(SampleBatchNorm(t, {Total(Counts(4, false)), 3}, Counts(4, false)));
  calls.Add(FeatureBatchNorm(t, {5, 6}));
  calls.Add(OnGroups(SampleBatchNorm(t, {4, 3, 2, 2}, {1, 3}), 2));
  calls.spec.params["together"] = true;
  calls.ExpectAll(t);
}

SHARDLAB_CASE(norms, batch_norm_in_float32, kRobustness, {2}) {
  LayerCalls calls(t.ranks());
  calls.Add(InFloat32(SampleBatchNorm(t, {5, 3, 2, 2}, {2, 3})));
  calls.Add(InFloat32(FeatureBatchNorm(t, {5, 4})));
  calls.ExpectAll(t);
}

SHARDLAB_CASE(norms, batch_norm_memory, kCost, {2}) {
  LayerCalls calls(t.ranks());
  calls.Add(FeatureBatchNorm(t, {4, 512}));
  calls.Add(SampleBatchNorm(t, {4, 512}, {1, 3}));
  calls.ExpectMemory(t);
}

}  // namespace shardlab::grade
