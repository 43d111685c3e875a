#include "shardlab/tensor_parallel/layer_norm.hpp"

#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/tensor_parallel/moments.hpp"

// With n = (x - mean) s and g = dy gamma:
//
//     dx = s (g - (1/D) sum g - n (1/D) sum g n)        the sums over all ranks' features, both in one all-reduce

namespace shardlab {
namespace {

using torch::autograd::AutogradContext;
using Tensors = torch::autograd::variable_list;

struct Row : torch::CustomClassHolder {
  std::shared_ptr<Communicator> comm;
  int64_t features = 0;
  double eps = 0;
};

struct Normalise : torch::autograd::Function<Normalise> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& gamma,
                            const at::Tensor& beta, const c10::intrusive_ptr<Row>& row) {
    const at::Tensor rows = x.dim() > 1 ? x.flatten(0, -2) : x.unsqueeze(0);
    const int64_t own = gamma.size(0);
    const at::Tensor mine = at::zeros({rows.size(0), 2}, x.options());
    if (own > 0) {
      mine.select(1, 0).copy_(rows.mean(1));
      mine.select(1, 1).copy_((rows - rows.mean(1, true)).square_().sum(1));
    }
    std::vector<at::Tensor> all;
    for (int rank = 0; rank < row->comm->size(); ++rank) all.push_back(at::empty_like(mine));
    row->comm->AllGather(all, mine);
    std::vector<Moments> parts;
    const std::vector<int64_t> counts = SplitSizes(row->features, row->comm->size());
    for (size_t rank = 0; rank < all.size(); ++rank) {
      parts.push_back({counts[rank], all[rank].select(1, 0), all[rank].select(1, 1)});
    }
    const Moments whole = MergeMoments(parts);
    const at::Tensor scale = (whole.m2 / row->features + row->eps).rsqrt().unsqueeze(1);
    const at::Tensor normed = (rows - whole.mean.unsqueeze(1)) * scale;
    context->save_for_backward({normed, scale, gamma});
    context->saved_data["row"] = c10::IValue::make_capsule(row);
    context->saved_data["wanted"] = x.requires_grad();
    return at::addcmul(beta, normed, gamma).view(x.sizes());
  }

  static Tensors backward(AutogradContext* context, const Tensors& gradients) {
    const Tensors saved = context->get_saved_variables();
    const at::Tensor& normed = saved[0];
    const at::Tensor dy = gradients[0].reshape(normed.sizes());
    at::Tensor dx;
    if (context->saved_data["wanted"].toBool()) {
      const auto row = c10::static_intrusive_pointer_cast<Row>(context->saved_data["row"].toCapsule());
      const at::Tensor g = dy * saved[2];
      const at::Tensor sums = at::stack({g.sum(1), (g * normed).sum(1)});
      row->comm->AllReduce(sums);
      sums.div_(row->features);
      dx = ((g - sums[0].unsqueeze(1) - normed * sums[1].unsqueeze(1)) * saved[1]).view(gradients[0].sizes());
    }
    return {dx, (dy * normed).sum(0), dy.sum(0), at::Tensor()};
  }
};

class LayerNorm : public ShardedLayer {
 public:
  LayerNorm(const at::Tensor& gamma, const at::Tensor& beta, c10::intrusive_ptr<Row> row)
      : row_(std::move(row)), gamma_(register_parameter("weight", gamma)), beta_(register_parameter("bias", beta)) {}

  at::Tensor forward(const at::Tensor& x) override { return Normalise::apply(x, gamma_, beta_, row_); }

 private:
  c10::intrusive_ptr<Row> row_;
  at::Tensor gamma_;
  at::Tensor beta_;
};

}  // namespace

std::shared_ptr<ShardedLayer> MakeShardedLayerNorm(const at::Tensor& gamma_D, const at::Tensor& beta_D, double eps,
                                                   std::shared_ptr<Communicator> comm) {
  if (gamma_D.dim() != 1 || gamma_D.numel() == 0 || !gamma_D.sizes().equals(beta_D.sizes())) {
    throw ContractError("MakeShardedLayerNorm: gamma and beta are [D], D at least 1");
  }
  auto row = c10::make_intrusive<Row>();
  row->features = gamma_D.numel();
  row->eps = eps;
  const Range d = SplitRange(row->features, comm->size(), comm->rank());
  row->comm = std::move(comm);
  return std::make_shared<LayerNorm>(gamma_D.detach().slice(0, d.begin, d.end).clone(),
                                     beta_D.detach().slice(0, d.begin, d.end).clone(), row);
}

}  // namespace shardlab
