#include "shardlab/tensor_parallel/layer_norm.hpp"

#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "shardlab/autograd/conjugate_op.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/tensor_parallel/moments.hpp"

// A row needs to know two numbers of itself: its mean and its variance. One operator makes them of the shards; the rest
// is ordinary arithmetic on the shard, of which autograd knows the gradient.
//
//     x_Bd --(1)--> n, mean, m2 of d features --(2)-- all-gather --(3)-- Chan's rule --> s_2B = (mean, var)
//
//     y_Bd = (x_Bd - mean) / sqrt(var + eps) * gamma_d + beta_d                      (4)
//
//     dx_Bd = (4)'s own part + ( dmean * 1 + dvar * 2 (x_Bd - mean) ) / D            (5)
//
//   (1) With the shard's own mean: no cancellation in float32. An empty shard sends zeros, with count 0.
//   (2) Two numbers a row from every rank, in one message. The counts need not travel: SplitRange knows them.
//   (3) Every rank merges the same T pairs in the same order: the same bits on every rank.
//   (4) Autograd gives each rank dmean and dvar as far as ITS features use them, two partial numbers a row.
//   (5) The operator's backward: add these up over the ranks, one all-reduce, then go on to the shard, since
//       dmean/dx = 1/D and dvar/dx = 2 (x - mean) / D. (The mean inside the variance adds nothing: sum (x - mean) = 0.)
//
// B rows, D normalised features, d this rank's.

namespace shardlab {
namespace {

// s_2B from x_Bd, with the backward (5). A new pair each time, because its backward remembers this x and this mean.
ConjugateOp RowStatistics(int64_t features, std::shared_ptr<Communicator> comm) {
  struct Saved {
    at::Tensor x_Bd;
    at::Tensor mean_B1;
  };
  auto saved = std::make_shared<Saved>();

  const auto forward = [=](const at::Tensor& x_Bd) {
    at::Tensor mean_B = x_Bd.size(-1) > 0 ? x_Bd.mean(-1) : x_Bd.sum(-1);  // (1)
    const at::Tensor m2_B = (x_Bd - mean_B.unsqueeze(-1)).square().sum(-1);
    const at::Tensor mine_2B = at::stack({mean_B, m2_B});
    std::vector<at::Tensor> gathered;
    for (int rank = 0; rank < comm->size(); ++rank) gathered.push_back(at::empty_like(mine_2B));
    comm->AllGather(gathered, mine_2B);  // (2)

    std::vector<Moments> parts;
    for (int rank = 0; rank < comm->size(); ++rank) {
      const at::Tensor& part_2B = gathered[static_cast<size_t>(rank)];
      parts.push_back({SplitRange(features, comm->size(), rank).size(), part_2B[0], part_2B[1]});
    }
    const Moments row = MergeMoments(parts);  // (3)
    *saved = {x_Bd, row.mean.unsqueeze(-1)};
    return at::stack({row.mean, row.m2 / features});
  };

  const auto backward = [=](const at::Tensor& ds_2B) {  // (5)
    comm->AllReduce(ds_2B);
    const at::Tensor dmean_B1 = ds_2B[0].unsqueeze(-1);
    const at::Tensor dvar_B1 = ds_2B[1].unsqueeze(-1);
    return (dmean_B1 + dvar_B1 * 2 * (saved->x_Bd - saved->mean_B1)) / features;
  };

  return {"LayerNorm's statistics", forward, backward};
}

class ShardedLayerNorm : public ShardedLayer {
 public:
  ShardedLayerNorm(const at::Tensor& gamma_D, const at::Tensor& beta_D, double eps, std::shared_ptr<Communicator> comm)
      : comm_(std::move(comm)), features_(gamma_D.size(0)), eps_(eps) {
    const Range d = SplitRange(features_, comm_->size(), comm_->rank());
    gamma_d_ = register_parameter("weight", gamma_D.detach().narrow(0, d.begin, d.size()).clone());
    beta_d_ = register_parameter("bias", beta_D.detach().narrow(0, d.begin, d.size()).clone());
  }

  at::Tensor forward(const at::Tensor& x_Bd) override {
    const at::Tensor s_2B = Apply(RowStatistics(features_, comm_), x_Bd);
    const at::Tensor mean_B1 = s_2B[0].unsqueeze(-1);
    const at::Tensor var_B1 = s_2B[1].unsqueeze(-1);
    return (x_Bd - mean_B1) * (var_B1 + eps_).rsqrt() * gamma_d_ + beta_d_;  // (4)
  }

 private:
  std::shared_ptr<Communicator> comm_;
  int64_t features_;
  double eps_;
  at::Tensor gamma_d_;
  at::Tensor beta_d_;
};

}  // namespace

std::shared_ptr<ShardedLayer> MakeShardedLayerNorm(const at::Tensor& gamma_D, const at::Tensor& beta_D, double eps,
                                                   std::shared_ptr<Communicator> comm) {
  if (gamma_D.dim() != 1 || gamma_D.size(0) < 1 || beta_D.sizes() != gamma_D.sizes()) {
    throw ContractError("MakeShardedLayerNorm: gamma and beta are [D] with one D of at least 1");
  }
  return std::make_shared<ShardedLayerNorm>(gamma_D, beta_D, eps, std::move(comm));
}

}  // namespace shardlab
