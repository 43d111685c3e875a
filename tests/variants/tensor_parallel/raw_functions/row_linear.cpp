#include "shardlab/tensor_parallel/row_linear.hpp"

#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"

// The whole layer is one node of the graph: product, sum and bias forward; three products without any message backward.

namespace shardlab {
namespace {

using torch::autograd::AutogradContext;
using Tensors = torch::autograd::variable_list;

struct Group : torch::CustomClassHolder {
  explicit Group(std::shared_ptr<Communicator> c) : comm(std::move(c)) {}
  std::shared_ptr<Communicator> comm;
};

// All leading dimensions as one; the last may be 0.
at::Tensor Rows(const at::Tensor& x) { return x.dim() > 1 ? x.flatten(0, -2) : x.unsqueeze(0); }

struct Product : torch::autograd::Function<Product> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const c10::optional<at::Tensor>& bias, const c10::intrusive_ptr<Group>& group) {
    context->save_for_backward({x, weight});
    context->saved_data["bias"] = bias.has_value();
    std::vector<int64_t> shape = x.sizes().vec();
    shape.back() = weight.size(0);
    const at::Tensor y = Rows(x).mm(weight.t());
    group->comm->IAllReduce(y)->Wait();
    if (bias) y.add_(*bias);
    return y.view(shape);
  }

  static Tensors backward(AutogradContext* context, const Tensors& gradients) {
    const Tensors saved = context->get_saved_variables();
    const at::Tensor& x = saved[0];
    const at::Tensor& weight = saved[1];
    const at::Tensor dy = Rows(gradients[0]);
    const at::Tensor dx = dy.mm(weight).view(x.sizes());
    const at::Tensor dweight = dy.t().mm(Rows(x));
    return {dx, dweight, context->saved_data["bias"].toBool() ? dy.sum(0) : at::Tensor(), at::Tensor()};
  }
};

class RowLinear : public ShardedLayer {
 public:
  RowLinear(const at::Tensor& weight_OI, const at::Tensor& bias_O, const std::shared_ptr<Communicator>& comm)
      : group_(c10::make_intrusive<Group>(comm)) {
    const std::vector<at::Tensor> shards =
        weight_OI.detach().split_with_sizes(SplitSizes(weight_OI.size(1), comm->size()), 1);
    register_parameter("weight", shards[static_cast<size_t>(comm->rank())].contiguous().clone());
    if (bias_O.defined()) register_parameter("bias", bias_O.detach().clone());
  }

  at::Tensor forward(const at::Tensor& x) override {
    const auto named = named_parameters();
    const at::Tensor* bias = named.find("bias");
    return Product::apply(x, named["weight"], bias ? c10::optional<at::Tensor>(*bias) : c10::nullopt, group_);
  }

 private:
  c10::intrusive_ptr<Group> group_;
};

}  // namespace

std::shared_ptr<ShardedLayer> MakeRowLinear(const at::Tensor& weight_OI, const at::Tensor& bias_O,
                                            std::shared_ptr<Communicator> comm) {
  if (weight_OI.dim() != 2 || (bias_O.defined() && bias_O.sizes() != weight_OI.sizes().slice(0, 1))) {
    throw ContractError("MakeRowLinear: the weight is [O, I], and the bias [O]");
  }
  return std::make_shared<RowLinear>(weight_OI, bias_O, comm);
}

}  // namespace shardlab
