#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "shardlab/autograd/conjugate_op.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/tensor_parallel/batch_norm.hpp"
#include "shardlab/tensor_parallel/moments.hpp"

// LayerNorm turned by a quarter: now the cut runs across what is averaged.
//
//              channels
//     s     +-----------------+
//     a     |  |   |   |   |  |  rank 0, n_0 values a channel
//     m     +--|---|---|---|--+
//     ples  |  v   v   v   v  |  rank 1, n_1 values: not n_0
//           +-----------------+
//
//     x_bC --(1)--> n, mean, m2 of the b samples --(2)-- all-gather --(3)-- Chan's rule --> s_2C = (mean, var)
//     y_bC = (x_bC - mean) / sqrt(var + eps) * gamma + beta                                (4)
//     dx   = (4)'s own part + ( dmean * 1 + dvar * 2 (x_bC - mean) ) / N                   (5)
//
//   (1) The shard's own mean. A rank without a sample sends zeros, with count 0.
//   (2) 2C + 1 numbers from every rank: only the rank itself knows its count. A floating number holds it exactly, in
//       float32 up to 16 million values a rank.
//   (3) Weighted by the counts. A mean of the ranks' means is wrong as soon as the counts differ, and a mean of their
//       variances always is: it forgets how far the ranks' means lie apart.
//   (4) Ordinary arithmetic on the shard, of which autograd knows the gradient. Those of gamma and beta are sums over
//   this
//       rank's samples.
//   (5) The operator's backward: dmean and dvar, 2C partial numbers, are added up over the ranks in one all-reduce.
//
// B samples, b this rank's, C channels, H*W positions of an image, N = B*H*W values a channel over all ranks.

namespace shardlab {
namespace {

// A vector over the channels, in the shape in which it meets x [b, C] or [b, C, H, W].
at::Tensor OverChannels(const at::Tensor& vector_C, int64_t dims) {
  std::vector<int64_t> shape(static_cast<size_t>(dims), 1);
  shape[1] = vector_C.size(0);
  return vector_C.view(shape);
}

// s_2C from x_bC, with the backward (5). A new pair each time, because its backward remembers this x and this mean.
// `values` becomes N.
ConjugateOp ChannelStatistics(std::shared_ptr<int64_t> values, std::shared_ptr<Communicator> comm) {
  struct Saved {
    at::Tensor x_bC;
    at::Tensor mean_C;
  };
  auto saved = std::make_shared<Saved>();

  const auto forward = [=](const at::Tensor& x_bC) {
    const int64_t channels = x_bC.size(1);
    std::vector<int64_t> all_but_channels{0};
    for (int64_t dim = 2; dim < x_bC.dim(); ++dim) all_but_channels.push_back(dim);

    const int64_t count = channels > 0 ? x_bC.numel() / channels : 0;
    const at::Tensor sum_C = x_bC.sum(all_but_channels);
    const at::Tensor mean_C = count > 0 ? sum_C / count : sum_C;  // (1)
    const at::Tensor m2_C = (x_bC - OverChannels(mean_C, x_bC.dim())).square().sum(all_but_channels);
    const at::Tensor mine = at::cat({mean_C, m2_C, at::full({1}, count, x_bC.options())});
    std::vector<at::Tensor> gathered;
    for (int rank = 0; rank < comm->size(); ++rank) gathered.push_back(at::empty_like(mine));
    comm->AllGather(gathered, mine);  // (2)

    std::vector<Moments> parts;
    for (const at::Tensor& part : gathered) {
      parts.push_back(
          {part[2 * channels].item().toLong(), part.narrow(0, 0, channels), part.narrow(0, channels, channels)});
    }
    const Moments all = MergeMoments(parts);  // (3)
    if (all.count < 2) {
      throw ContractError("SampleBatchNorm: training needs at least two values a channel on all ranks together");
    }
    *values = all.count;
    *saved = {x_bC, all.mean};
    return at::stack({all.mean, all.m2 / all.count});
  };

  const auto backward = [=](const at::Tensor& ds_2C) {  // (5)
    comm->AllReduce(ds_2C);
    const int64_t dims = saved->x_bC.dim();
    const at::Tensor centred = saved->x_bC - OverChannels(saved->mean_C, dims);
    return (OverChannels(ds_2C[0], dims) + OverChannels(ds_2C[1], dims) * 2 * centred) / *values;
  };

  return {"BatchNorm's statistics", forward, backward};
}

class SampleBatchNorm : public ShardedLayer {
 public:
  SampleBatchNorm(const BatchNormWeights& weights, std::shared_ptr<Communicator> comm)
      : comm_(std::move(comm)), eps_(weights.eps), momentum_(weights.momentum) {
    gamma_C_ = register_parameter("weight", weights.gamma_C.detach().clone());
    beta_C_ = register_parameter("bias", weights.beta_C.detach().clone());
    running_mean_C_ = register_buffer("running_mean", at::zeros_like(gamma_C_));
    running_var_C_ = register_buffer("running_var", at::ones_like(gamma_C_));
    batches_ = register_buffer("num_batches_tracked", at::zeros({}, at::kLong));
  }

  at::Tensor forward(const at::Tensor& x_bC) override {
    if (!is_training()) return Normalise(x_bC, running_mean_C_, running_var_C_);

    auto values = std::make_shared<int64_t>(0);
    const at::Tensor s_2C = Apply(ChannelStatistics(values, comm_), x_bC);
    Track(s_2C.detach(), *values);
    return Normalise(x_bC, s_2C[0], s_2C[1]);
  }

 private:
  at::Tensor Normalise(const at::Tensor& x_bC, const at::Tensor& mean_C, const at::Tensor& var_C) const {
    const auto over = [&](const at::Tensor& vector_C) { return OverChannels(vector_C, x_bC.dim()); };
    return (x_bC - over(mean_C)) * over((var_C + eps_).rsqrt()) * over(gamma_C_) + over(beta_C_);  // (4)
  }

  // The running variance is the unbiased one, of ALL samples: N / (N - 1), not n / (n - 1).
  void Track(const at::Tensor& s_2C, int64_t values) {
    const double unbiased = static_cast<double>(values) / static_cast<double>(values - 1);
    running_mean_C_.mul_(1 - momentum_).add_(s_2C[0], momentum_);
    running_var_C_.mul_(1 - momentum_).add_(s_2C[1], momentum_ * unbiased);
    batches_ += 1;
  }

  std::shared_ptr<Communicator> comm_;
  double eps_;
  double momentum_;
  at::Tensor gamma_C_;
  at::Tensor beta_C_;
  at::Tensor running_mean_C_;
  at::Tensor running_var_C_;
  at::Tensor batches_;
};

}  // namespace

std::shared_ptr<ShardedLayer> MakeSampleBatchNorm(const BatchNormWeights& weights, std::shared_ptr<Communicator> comm) {
  if (weights.gamma_C.dim() != 1 || weights.beta_C.sizes() != weights.gamma_C.sizes()) {
    throw ContractError("MakeSampleBatchNorm: gamma and beta are [C] with one C");
  }
  return std::make_shared<SampleBatchNorm>(weights, std::move(comm));
}

}  // namespace shardlab
