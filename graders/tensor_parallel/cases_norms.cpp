#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>

#include <fmt/format.h>

#include "layer_calls.hpp"
#include "shardlab/base/split.hpp"

// Part norms: statistics over what is cut and over what is not. The oracles are LibTorch's own norms on the whole
// tensor.

namespace shardlab::grade {
namespace {

constexpr double kEps = 1e-3;
constexpr double kMomentum = 0.25;

const char* const kOwnStatistics =
    "the rank normalises by its own part alone; the statistics are those of all ranks' values together";

struct Sizes {
  int64_t features;
  int64_t rows;
};

// Divisible, odd, fewer features than ranks, one row.
const std::vector<Sizes> kSizes = {{8, 4}, {7, 3}, {2, 3}, {5, 1}};

// Of the last dimension, which stays as 1. Tensor::var is the same, and in LibTorch 2 it warns when there is no row.
at::Tensor Variance(const at::Tensor& x) { return (x - x.mean(-1, true)).square().mean(-1, true); }

LayerCall LayerNorm(CaseContext& t, const Sizes& sizes) {
  LayerCall call;
  call.what =
      fmt::format("MakeShardedLayerNorm (D = {}, {} row{})", sizes.features, sizes.rows, sizes.rows == 1 ? "" : "s");
  call.params = {{"layer", "layer_norm"}, {"eps", kEps}};
  call.exact = false;
  call.weights = {{"weight", t.Normal({sizes.features}) + 2, {0}}, {"bias", t.Normal({sizes.features}), {0}}};
  call.input = {-1};
  call.output = {-1};
  // Rows of different places and widths: statistics of another row, or of all rows together, must show.
  call.x = {t.Normal({sizes.rows, sizes.features}) * (1 + t.Normal({sizes.rows, 1}).abs()) + t.Normal({sizes.rows, 1})};
  call.dy = {t.Normal({sizes.rows, sizes.features})};
  call.oracle = [](const Weights& weights, const at::Tensor& x) {
    return at::layer_norm(x, {x.size(-1)}, weights.at("weight"), weights.at("bias"), kEps);
  };

  const int ranks = t.ranks();
  const at::Tensor x = call.x[0];
  const at::Tensor dy = call.dy[0];
  const at::Tensor gamma = call.weights[0].full;
  const at::Tensor beta = call.weights[1].full;
  const auto part = [=](const at::Tensor& full, int rank) { return Placement{-1}.PartOf(full, ranks, rank); };
  call.y_mistakes = [=](size_t, int rank) {
    const auto with = [=](const at::Tensor& mean, const at::Tensor& var) {
      return (part(x, rank) - mean) / (var + kEps).sqrt() * part(gamma, rank) + part(beta, rank);
    };
    const at::Tensor mean = x.mean(-1, true);
    const at::Tensor var = Variance(x);
    const auto affine = [=](const at::Tensor& normed) { return normed * part(gamma, rank) + part(beta, rank); };
    Label label;
    label.hypotheses = {
        {kOwnStatistics, [=] { return with(part(x, rank).mean(-1, true), Variance(part(x, rank))); }},
        {"the variance is the mean of the ranks' variances, which forgets how far the ranks' means lie apart",
         [=] {
           at::Tensor m2 = at::zeros_like(var);
           for (int r = 0; r < ranks; ++r) {
             if (part(x, r).size(-1) > 0) m2 = m2 + Variance(part(x, r)) * part(x, r).size(-1);
           }
           return with(mean, m2 / x.size(-1));
         }},
        {"the variance was divided by D - 1; a norm divides by D", [=] { return with(mean, x.var(-1, true, true)); }},
        {"eps is missing under the root", [=] { return affine((part(x, rank) - mean) / var.sqrt()); }},
        {"eps stands behind the root: it belongs under it",
         [=] { return affine((part(x, rank) - mean) / (var.sqrt() + kEps)); }},
        {"the bias is missing", [=] { return with(mean, var) - part(beta, rank); }},
        {"the weight is missing", [=] { return (part(x, rank) - mean) / (var + kEps).sqrt() + part(beta, rank); }}};
    return label;
  };
  call.dx_mistakes = [=](size_t, int rank) {
    const at::Tensor rstd = (Variance(x) + kEps).rsqrt();
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
    return label;
  };
  return call;
}

LayerCall RmsNorm(CaseContext& t, const Sizes& sizes) {
  LayerCall call = LayerNorm(t, sizes);
  call.what =
      fmt::format("MakeShardedRmsNorm (D = {}, {} row{})", sizes.features, sizes.rows, sizes.rows == 1 ? "" : "s");
  call.params["layer"] = "rms_norm";
  call.weights.pop_back();
  call.oracle = [](const Weights& weights, const at::Tensor& x) {
    return x * (x.square().mean(-1, true) + kEps).rsqrt() * weights.at("weight");
  };
  const int ranks = t.ranks();
  const at::Tensor x = call.x[0];
  const at::Tensor gamma = call.weights[0].full;
  const at::Tensor dy = call.dy[0];
  const auto part = [=](const at::Tensor& full, int rank) { return Placement{-1}.PartOf(full, ranks, rank); };
  call.y_mistakes = [=](size_t, int rank) {
    const auto with = [=](const at::Tensor& mean_square) {
      return part(x, rank) * (mean_square + kEps).rsqrt() * part(gamma, rank);
    };
    const auto sum = [=] { return x.square().sum(-1, true); };
    Label label;
    label.hypotheses = {{kOwnStatistics, [=] { return with(part(x, rank).square().mean(-1, true)); }},
                        {"the sum of squares is not divided by D", [=] { return with(sum()); }},
                        {"the sum of squares is divided by this rank's d features, and not by D",
                         [=] { return with(sum() / part(x, rank).size(-1)); }},
                        {"the sum of squares is this rank's own, divided by D",
                         [=] { return with(part(x, rank).square().sum(-1, true) / x.size(-1)); }},
                        {"eps stands behind the root: it belongs under it", [=] {
                           return part(x, rank) / (x.square().mean(-1, true).sqrt() + kEps) * part(gamma, rank);
                         }}};
    return label;
  };
  call.dx_mistakes = [=](size_t, int rank) {
    const at::Tensor rstd = (x.square().mean(-1, true) + kEps).rsqrt();
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
    return label;
  };
  return call;
}

constexpr int kTrainingSteps = 2;

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
  call.params = {{"eps", kEps}, {"momentum", kMomentum}, {"evaluate_last", true}};
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
  state->mean = at::zeros({channels}, at::kDouble);
  state->var = at::ones({channels}, at::kDouble);
  call.oracle = [state](const Weights& weights, const at::Tensor& x) {
    const bool training = state->steps++ < kTrainingSteps;
    return at::batch_norm(x, weights.at("weight"), weights.at("bias"), state->mean, state->var, training, kMomentum,
                          kEps,
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
      return at::batch_norm(part(x[step], 1), part(gamma, 0), part(beta, 0), mean, var, /*training=*/false, 0, kEps,
                            false);
    };
    const auto values = [=] { return ByChannel(part(x[step], 1)); };
    Label label;
    if (step < kTrainingSteps) {
      label.hypotheses = {{"the variance is divided by n - 1: a norm divides by n",
                           [=] { return with(values().mean(1), values().var(1, true)); }}};
    } else {
      label.hypotheses = {{"these are the batch's statistics: in evaluation the running statistics belong",
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
      return at::batch_norm(part(x, rank), gamma, beta, mean, var, /*training=*/false, 0, kEps, false);
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
          {"these are the batch's statistics: in evaluation the running statistics belong",
           [=] { return with(mean_of(all()), var_of(all())); }},
          {"these are the statistics of this rank's own samples: in evaluation the running statistics belong",
           [=] { return with(mean_of(rows(rank)), var_of(rows(rank))); }}};
      return label;
    }
    const std::string alike = "the merge counted every rank alike, whatever its number of samples";
    label.hypotheses = {
        {kOwnStatistics, [=] { return with(mean_of(rows(rank)), var_of(rows(rank))); }},
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
        {"the variance is divided by n - 1: a norm divides by n",
         [=] { return with(mean_of(all()), all().var(1, true)); }}};
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
    const at::Tensor rstd = (ByChannel(x).var(1, false) + kEps).rsqrt().view(shape);
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
    return label;
  };
  return call;
}

// Different numbers of samples; from two ranks on some rank has none when `with_empty`.
std::vector<int64_t> Counts(int ranks, bool with_empty) {
  std::vector<int64_t> counts;
  for (int rank = 0; rank < ranks; ++rank) counts.push_back(1 + 2 * rank);
  if (with_empty && ranks > 1) counts[1] = 0;
  return counts;
}

int64_t Sum(const std::vector<int64_t>& numbers) {
  int64_t sum = 0;
  for (const int64_t number : numbers) sum += number;
  return sum;
}

void ExpectAll(CaseContext& t, LayerCalls& calls, bool values, bool gradients) {
  if (values) calls.ExpectShards(t);
  const Run run = calls.Launch(t);
  if (values) calls.ExpectOutputs(t, run);
  if (gradients) calls.ExpectGradients(t, run);
}

std::vector<Collective> Nothing(int) { return {}; }

// What merged moments may be. x [sets, values], the parts one behind the other.
class MomentMistakes {
 public:
  MomentMistakes(const at::Tensor& x, const std::vector<int64_t>& counts)
      : mean_(x.size(1) > 0 ? x.mean(1) : x.sum(1)) {
    for (const at::Tensor& part : x.split_with_sizes(counts, 1)) {
      if (part.size(1) > 0) parts_.push_back(part);
    }
  }

  std::vector<Hypothesis> OfMean() const {
    return {{"it is the mean of the parts' means, not weighted by their counts",
             [=] { return parts_.empty() ? at::Tensor() : at::stack(Means()).mean(0); }},
            {"it is the sum of the parts' means",
             [=] { return parts_.empty() ? at::Tensor() : at::stack(Means()).sum(0); }}};
  }
  std::vector<Hypothesis> OfM2() const {
    return {{"it forgets how far the parts' means lie apart: sum n_t (mean_t - mean)^2 is missing",
             [=] { return Within(); }},
            {"the squares (mean_t - mean)^2 are not weighted: each counts n_t times", [=] {
               at::Tensor m2 = Within();
               for (const at::Tensor& mean : Means()) m2 = m2 + (mean - mean_).square();
               return m2;
             }}};
  }

 private:
  std::vector<at::Tensor> Means() const {
    std::vector<at::Tensor> means;
    for (const at::Tensor& part : parts_) means.push_back(part.mean(1));
    return means;
  }
  at::Tensor Within() const {
    at::Tensor m2 = at::zeros_like(mean_);
    for (const at::Tensor& part : parts_) m2 = m2 + (part - part.mean(1, true)).square().sum(1);
    return m2;
  }

  at::Tensor mean_;
  std::vector<at::Tensor> parts_;
};

}  // namespace

// ------------------------------------------------------------------------------------------------ moments

SHARDLAB_CASE(norms, merge_moments, kValue, {1}) {
  struct Call {
    std::string what;
    at::ScalarType dtype;
    double mean;
    std::vector<int64_t> counts;
  };
  const std::vector<Call> calls = {{"MergeMoments (counts 3, 5, 2)", at::kDouble, 0, {3, 5, 2}},
                                   {"MergeMoments (one part)", at::kDouble, 1, {4}},
                                   {"MergeMoments (a part of count 0 whose mean is NaN)", at::kDouble, 2, {3, 0, 4}},
                                   {"MergeMoments (float32, mean 1000)", at::kFloat, 1000, {40, 1, 23}},
                                   {"MergeMoments (nothing at all)", at::kDouble, 0, {0, 0}}};
  constexpr int64_t kSets = 3;
  RunSpec spec;
  spec.body = "moments";
  spec.params["calls"] = nlohmann::json::array();
  std::vector<at::Tensor> values_of_call;
  for (size_t c = 0; c < calls.size(); ++c) {
    const std::string i = std::to_string(c);
    spec.params["calls"].push_back({{"what", calls[c].what}, {"counts", calls[c].counts}});
    std::vector<at::Tensor> values;
    for (size_t p = 0; p < calls[c].counts.size(); ++p) {
      // What the function gets has the precision of its type; the reference is of the same rounded values.
      const at::Tensor x = (t.Normal({kSets, calls[c].counts[p]}) + calls[c].mean).to(calls[c].dtype).to(at::kDouble);
      const bool empty = calls[c].counts[p] == 0;
      const at::Tensor mean =
          empty ? at::full({kSets}, std::numeric_limits<double>::quiet_NaN(), at::kDouble) : x.mean(1);
      const at::Tensor m2 = empty ? mean : (x - mean.unsqueeze(1)).square().sum(1);
      const std::string part = i + "." + std::to_string(p);
      spec.inputs[part + ".mean"] = {mean.to(calls[c].dtype)};
      spec.inputs[part + ".m2"] = {m2.to(calls[c].dtype)};
      values.push_back(x);
    }
    values_of_call.push_back(at::cat(values, 1));
  }
  const Run run = t.Launch(spec);
  for (size_t c = 0; c < calls.size(); ++c) {
    const std::string i = std::to_string(c);
    const at::Tensor& x = values_of_call[c];
    const bool empty = x.size(1) == 0;
    const at::Tensor mean = empty ? at::zeros({kSets}, at::kDouble) : x.mean(1);
    const at::Tensor m2 = (x - mean.unsqueeze(1)).square().sum(1);
    t.Expect(run.Number(0, i + ".count") == static_cast<double>(x.size(1)),
             fmt::format("the count of {} is {}, expected {}", calls[c].what, run.Number(0, i + ".count"), x.size(1)));
    if (calls[c].dtype == at::kDouble) {
      const at::Tensor got = run.Output(0, i + ".mean");
      if (std::count(calls[c].counts.begin(), calls[c].counts.end(), 0) > 0) {
        t.Expect(!got.defined() || !got.isnan().any().item<bool>(),
                 fmt::format(
                     "the mean of {} is NaN: 0 * NaN is NaN, so a part of count 0 is left out and not multiplied by 0",
                     calls[c].what));
      }
      const MomentMistakes mistakes(x, calls[c].counts);
      Label of_mean{"the mean of " + calls[c].what};
      of_mean.hypotheses = mistakes.OfMean();
      t.ExpectClose(run, 0, i + ".mean", mean, of_mean, /*scale=*/1);
      Label of_m2{"m2 of " + calls[c].what};
      of_m2.hypotheses = mistakes.OfM2();
      t.ExpectClose(run, 0, i + ".m2", m2, of_m2, /*scale=*/1);
      continue;
    }
    const at::Tensor got = run.Output(0, i + ".m2");
    t.Expect(got.defined() && got.sizes() == m2.sizes() && got.scalar_type() == calls[c].dtype,
             fmt::format("m2 of {} is not a float32 tensor of the parts' shape", calls[c].what));
    const double error = ((got.to(at::kDouble) - m2) / m2).abs().max().item().toDouble();
    t.Expect(error < 1e-3, fmt::format("m2 of {} is off by a factor of {:.3g}: {:.6g} is expected, and {:.6g} came; do "
                                       "not subtract squares of the mean",
                                       calls[c].what, 1 + error, m2[0].item().toDouble(), got[0].item().toDouble()));
  }
}

// ------------------------------------------------------------------------------------------------ LayerNorm, RMSNorm

SHARDLAB_CASE(norms, layer_norm_values, kValue, {1, 2, 3, 4}) {
  LayerCalls calls(t.ranks());
  for (const Sizes& sizes : kSizes) calls.Add(LayerNorm(t, sizes));
  ExpectAll(t, calls, true, false);
}

SHARDLAB_CASE(norms, rms_norm_values, kValue, {1, 2, 3, 4}) {
  LayerCalls calls(t.ranks());
  for (const Sizes& sizes : kSizes) calls.Add(RmsNorm(t, sizes));
  ExpectAll(t, calls, true, false);
}

SHARDLAB_CASE(norms, layer_norm_gradients, kGradient, {1, 2, 3, 4}) {
  LayerCalls calls(t.ranks());
  for (const Sizes& sizes : kSizes) calls.Add(LayerNorm(t, sizes));
  ExpectAll(t, calls, false, true);
}

SHARDLAB_CASE(norms, rms_norm_gradients, kGradient, {1, 2, 3, 4}) {
  LayerCalls calls(t.ranks());
  for (const Sizes& sizes : kSizes) calls.Add(RmsNorm(t, sizes));
  ExpectAll(t, calls, false, true);
}

SHARDLAB_CASE(norms, layer_norm_cost, kCost, {2, 3, 4}) {
  LayerCalls calls(t.ranks());
  const Sizes sizes{7, 5};
  calls.Add(LayerNorm(t, sizes));
  calls.Add(RmsNorm(t, sizes));
  const Run run = calls.Launch(t);
  for (int i = 0; i < 2; ++i) {
    const int64_t elements = sizes.rows * (2 - i);  // LayerNorm two numbers a row, RMSNorm one
    const auto one = [&](int) { return std::vector<Collective>{{OpKind::kAllReduce, elements}}; };
    const std::string number = std::to_string(i) + ".0";
    ExpectTraffic(t, run, "backward of " + calls.call(i).what, "backward " + number, "end " + number, one);
    ExpectTraffic(t, run, "forward of " + calls.call(i).what, "forward " + number, "backward " + number, one,
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
  const at::Tensor expected = at::layer_norm(x, {kFeatures}, {}, {}, kEps);
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
      const double variance = spread(x_d) / spread(got[row].to(at::kDouble)) - kEps;
      const double right = x[row].var(/*unbiased=*/false).item().toDouble();
      const double own = x_d.var(/*unbiased=*/false).item().toDouble();
      const bool is_own = t.ranks() > 1 && std::abs(variance - own) < 1e-2 * own;
      const double off = (got[row].to(at::kDouble) - part[row]).abs().max().item().toDouble();
      t.Expect(
          off < 5e-3,
          fmt::format("{}: row {} on rank {} was normalised by a variance of about {:.4g}, and {:.4g} is right: {}",
                      call.what, row, rank, variance, right,
                      is_own ? kOwnStatistics
                             : "in float32 the mean of the squares less the square of the mean has no digits left; "
                               "merge the ranks' (mean, m2) instead"));
    }
  }
}

SHARDLAB_CASE(norms, layer_norm_awkward_inputs, kRobustness, {1, 2, 4}) {
  LayerCalls calls(t.ranks());
  for (LayerCall call : {LayerNorm(t, {7, 4}), RmsNorm(t, {7, 4})}) {
    LayerCall strided = call;
    strided.what += ", non-contiguous input";
    strided.params["strided"] = true;
    calls.Add(strided);
    LayerCall no_gradient = call;
    no_gradient.what += ", the input needs no gradient";
    no_gradient.params["input_needs_gradient"] = false;
    calls.Add(no_gradient);
    LayerCall deeper = call;
    deeper.what += ", as [2, 2, features]";
    deeper.x = {call.x[0].view({2, 2, 7})};
    deeper.dy = {call.dy[0].view({2, 2, 7})};
    deeper.y_mistakes = nullptr;
    deeper.dx_mistakes = nullptr;
    calls.Add(deeper);
    call.what += ", without autograd";
    call.dy = {at::Tensor()};
    calls.Add(call);
  }
  LayerCall one_feature = LayerNorm(t, {1, 2});
  one_feature.dy = {at::Tensor()};  // the gradient of a constant is rounding in any program
  calls.Add(one_feature);
  calls.Add(RmsNorm(t, {1, 2}));
  calls.Add(LayerNorm(t, {5, 0}));
  calls.spec.faults.jitter_s = 0.003;
  calls.spec.faults.seed = t.seed();
  const Run run = calls.Launch(t);
  calls.ExpectOutputs(t, run);
  calls.ExpectGradients(t, run);
  for (const int i : {1, 5}) {
    const std::string number = std::to_string(i) + ".0";
    ExpectTraffic(t, run, "backward of " + calls.call(i).what, "backward " + number, "end " + number, Nothing);
  }
}

// ------------------------------------------------------------------------------------------------ BatchNorm

SHARDLAB_CASE(norms, feature_batch_norm_values, kValue, {1, 2, 3, 4}) {
  LayerCalls calls(t.ranks());
  calls.Add(FeatureBatchNorm(t, {5, 8}));
  calls.Add(FeatureBatchNorm(t, {3, 5, 2, 3}));
  ExpectAll(t, calls, true, false);
}

SHARDLAB_CASE(norms, sample_batch_norm_values, kValue, {1, 2, 3, 4}) {
  LayerCalls calls(t.ranks());
  const std::vector<int64_t> counts = Counts(t.ranks(), /*with_empty=*/false);
  const int64_t samples = Sum(counts);
  if (t.ranks() > 1) calls.Add(SampleBatchNorm(t, {samples, 3}, counts));
  calls.Add(SampleBatchNorm(t, {samples, 4, 2, 3}, counts));
  calls.Add(SampleBatchNorm(t, {8, 2}, SplitSizes(8, t.ranks())));
  ExpectAll(t, calls, true, false);
}

SHARDLAB_CASE(norms, feature_batch_norm_gradients, kGradient, {1, 2, 3}) {
  LayerCalls calls(t.ranks());
  calls.Add(FeatureBatchNorm(t, {5, 7}));
  calls.Add(FeatureBatchNorm(t, {3, 4, 2, 3}));
  ExpectAll(t, calls, false, true);
}

SHARDLAB_CASE(norms, sample_batch_norm_gradients, kGradient, {1, 2, 3, 4}) {
  LayerCalls calls(t.ranks());
  const std::vector<int64_t> counts = Counts(t.ranks(), /*with_empty=*/false);
  calls.Add(SampleBatchNorm(t, {Sum(counts), 4, 2, 3}, counts));
  calls.Add(SampleBatchNorm(t, {9, 2}, SplitSizes(9, t.ranks())));
  ExpectAll(t, calls, false, true);
}

SHARDLAB_CASE(norms, batch_norm_cost, kCost, {2, 3, 4}) {
  constexpr int64_t kChannels = 5;
  const std::vector<int64_t> counts = Counts(t.ranks(), /*with_empty=*/false);
  LayerCalls calls(t.ranks());
  calls.Add(FeatureBatchNorm(t, {4, kChannels}));
  calls.Add(SampleBatchNorm(t, {Sum(counts), kChannels, 2, 2}, counts));
  const Run run = calls.Launch(t);
  ExpectTraffic(
      t, run, "forward of " + calls.call(1).what, "forward 1.0", "backward 1.0",
      [](int) {
        return std::vector<Collective>{{OpKind::kAllReduce, 2 * kChannels + 1}};
      },
      /*any_kind=*/true);
  ExpectTraffic(t, run, "backward of " + calls.call(1).what, "backward 1.0", "end 1.0", [](int) {
    return std::vector<Collective>{{OpKind::kAllReduce, 2 * kChannels}};
  });
  ExpectTraffic(t, run, "forward and backward of " + calls.call(0).what, "forward 0.0", "end 0.2", Nothing);
  ExpectTraffic(t, run, "evaluation with " + calls.call(1).what, "forward 1.2", "end 1.2", Nothing);
}

SHARDLAB_CASE(norms, batch_norm_awkward_inputs, kRobustness, {2, 3, 4}) {
  LayerCalls calls(t.ranks());
  const std::vector<int64_t> counts = Counts(t.ranks(), /*with_empty=*/true);
  std::vector<int64_t> last_only(static_cast<size_t>(t.ranks()), 0);
  last_only.back() = 3;
  LayerCall empty_rank = SampleBatchNorm(t, {Sum(counts) + 1, 3}, [&] {
    std::vector<int64_t> more = counts;
    more[0] += 1;
    return more;
  }());
  LayerCall strided = empty_rank;
  strided = SampleBatchNorm(t, {4, 3, 2, 2}, SplitSizes(4, t.ranks()));
  strided.what += ", non-contiguous input";
  strided.params["strided"] = true;
  LayerCall no_gradient = SampleBatchNorm(t, {6, 3}, SplitSizes(6, t.ranks()));
  no_gradient.what += ", the input needs no gradient";
  no_gradient.params["input_needs_gradient"] = false;
  calls.Add(empty_rank);
  calls.Add(SampleBatchNorm(t, {3, 2}, last_only));
  calls.Add(strided);
  calls.Add(no_gradient);
  calls.Add(FeatureBatchNorm(t, {4, 1}));  // most ranks have no channel
  calls.spec.faults.jitter_s = 0.003;
  calls.spec.faults.seed = t.seed();
  const Run run = calls.Launch(t);
  calls.ExpectOutputs(t, run);
  calls.ExpectGradients(t, run);
  ExpectTraffic(t, run, "backward of " + calls.call(3).what, "backward 3.0", "end 3.0", Nothing);
}

}  // namespace shardlab::grade
