#include "shardlab/tensor_parallel/rms_norm.hpp"

#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"

// With s = 1 / sqrt(mean x^2 + eps) and g = dy gamma:  dx = s g - x s^3 (1/D) sum g x. The sum of squares is gathered
// from the ranks and added up here, in the order of the ranks.

namespace shardlab {
namespace {

using torch::autograd::AutogradContext;
using Tensors = torch::autograd::variable_list;

struct Row : torch::CustomClassHolder {
  std::shared_ptr<Communicator> comm;
  int64_t features = 0;
  double eps = 0;
};

struct Scale : torch::autograd::Function<Scale> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& gamma,
                            const c10::intrusive_ptr<Row>& row) {
    const at::Tensor mine = (x * x).sum(-1, /*keepdim=*/true).contiguous();
    std::vector<at::Tensor> all(static_cast<size_t>(row->comm->size()));
    for (at::Tensor& one : all) one = at::empty_like(mine);
    row->comm->IAllGather(all, mine)->Wait();
    at::Tensor sum = at::zeros_like(mine);
    for (const at::Tensor& one : all) sum += one;
    const at::Tensor scale = (sum / row->features + row->eps).rsqrt();
    context->save_for_backward({x, gamma, scale});
    context->saved_data["row"] = c10::IValue::make_capsule(row);
    context->saved_data["wanted"] = x.requires_grad();
    return x * scale * gamma;
  }

  static Tensors backward(AutogradContext* context, const Tensors& gradients) {
    const Tensors saved = context->get_saved_variables();
    const at::Tensor& x = saved[0];
    const at::Tensor& scale = saved[2];
    const at::Tensor g = gradients[0] * saved[1];
    at::Tensor dx;
    if (context->saved_data["wanted"].toBool()) {
      const auto row = c10::static_intrusive_pointer_cast<Row>(context->saved_data["row"].toCapsule());
      at::Tensor inner = (g * x).sum(-1, true).contiguous();
      row->comm->AllReduce(inner);
      dx = scale * g - x * scale.pow(3) * inner / row->features;
    }
    const at::Tensor dgamma = (gradients[0] * x * scale).sum_to_size(saved[1].sizes());
    return {dx, dgamma, at::Tensor()};
  }
};

class RmsNorm : public ShardedLayer {
 public:
  RmsNorm(const at::Tensor& gamma, c10::intrusive_ptr<Row> row)
      : row_(std::move(row)), gamma_(register_parameter("weight", gamma)) {}

  at::Tensor forward(const at::Tensor& x) override { return Scale::apply(x, gamma_, row_); }

 private:
  c10::intrusive_ptr<Row> row_;
  at::Tensor gamma_;
};

}  // namespace

std::shared_ptr<ShardedLayer> MakeShardedRmsNorm(const at::Tensor& gamma_D, double eps,
                                                 std::shared_ptr<Communicator> comm) {
  if (gamma_D.dim() != 1 || gamma_D.numel() == 0) throw ContractError("MakeShardedRmsNorm: gamma is [D], D at least 1");
  auto row = c10::make_intrusive<Row>();
  row->features = gamma_D.numel();
  row->eps = eps;
  const Range d = SplitRange(row->features, comm->size(), comm->rank());
  row->comm = std::move(comm);
  return std::make_shared<RmsNorm>(gamma_D.detach().slice(0, d.begin, d.end).clone(), row);
}

}  // namespace shardlab
