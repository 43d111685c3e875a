#include "shardlab/tensor_parallel/fused_mlp.hpp"

#include <utility>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"

// Both layers and the ReLU are one node of the graph, with one all-reduce each way.

namespace shardlab {
namespace {

using torch::autograd::AutogradContext;
using Tensors = torch::autograd::variable_list;
using Optional = c10::optional<at::Tensor>;

struct Group : torch::CustomClassHolder {
  explicit Group(std::shared_ptr<Communicator> c) : comm(std::move(c)) {}
  std::shared_ptr<Communicator> comm;
};

// All leading dimensions as one; the last may be 0.
at::Tensor Rows(const at::Tensor& x) { return x.dim() > 1 ? x.flatten(0, -2) : x.unsqueeze(0); }

struct TwoLayers : torch::autograd::Function<TwoLayers> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& w1, const Optional& b1,
                            const at::Tensor& w2, const Optional& b2, const c10::intrusive_ptr<Group>& group) {
    const at::Tensor h = at::linear(x, w1, b1).clamp_min_(0);
    context->save_for_backward({x, w1, w2, h});
    context->saved_data["group"] = c10::IValue::make_capsule(group);
    context->saved_data["wanted"] = x.requires_grad();
    context->saved_data["b1"] = b1.has_value();
    context->saved_data["b2"] = b2.has_value();
    at::Tensor y = at::matmul(h, w2.t()).contiguous();
    group->comm->AllReduce(y);
    return b2 ? y.add_(*b2) : y;
  }

  static Tensors backward(AutogradContext* context, const Tensors& gradients) {
    const Tensors saved = context->get_saved_variables();
    const at::Tensor& x = saved[0];
    const at::Tensor& w1 = saved[1];
    const at::Tensor& w2 = saved[2];
    const at::Tensor& h = saved[3];
    const at::Tensor dy = Rows(gradients[0]);
    const at::Tensor rows = Rows(x);
    const at::Tensor h_rows = Rows(h);
    const at::Tensor dh = dy.mm(w2).masked_fill(h_rows <= 0, 0);
    at::Tensor dx;
    if (context->saved_data["wanted"].toBool()) {
      dx = dh.mm(w1);
      const auto group = c10::static_intrusive_pointer_cast<Group>(context->saved_data["group"].toCapsule());
      group->comm->AllReduce(dx);
      dx = dx.view(x.sizes());
    }
    return {dx,
            dh.t().mm(rows),
            context->saved_data["b1"].toBool() ? dh.sum(0) : at::Tensor(),
            dy.t().mm(h_rows),
            context->saved_data["b2"].toBool() ? dy.sum(0) : at::Tensor(),
            at::Tensor()};
  }
};

// Only a place for the names of the parameters.
struct Names : torch::nn::Module {
  Optional Put(const char* name, const at::Tensor& part) {
    if (!part.defined()) return c10::nullopt;
    return register_parameter(name, part.detach().clone(at::MemoryFormat::Contiguous));
  }
};

class FusedMlp : public ShardedLayer {
 public:
  FusedMlp(const MlpWeights& weights, const std::shared_ptr<Communicator>& comm)
      : group_(c10::make_intrusive<Group>(comm)) {
    const Range h = SplitRange(weights.weight1_HI.size(0), comm->size(), comm->rank());
    const auto cut = [&](const at::Tensor& full, int64_t dim) {
      return full.defined() ? full.slice(dim, h.begin, h.end) : full;
    };
    const auto first = register_module("first", std::make_shared<Names>());
    const auto second = register_module("second", std::make_shared<Names>());
    w1_ = *first->Put("weight", cut(weights.weight1_HI, 0));
    b1_ = first->Put("bias", cut(weights.bias1_H, 0));
    w2_ = *second->Put("weight", cut(weights.weight2_OH, 1));
    b2_ = second->Put("bias", weights.bias2_O);
  }

  at::Tensor forward(const at::Tensor& x) override { return TwoLayers::apply(x, w1_, b1_, w2_, b2_, group_); }

 private:
  c10::intrusive_ptr<Group> group_;
  at::Tensor w1_;
  Optional b1_;
  at::Tensor w2_;
  Optional b2_;
};

}  // namespace

std::shared_ptr<ShardedLayer> MakeFusedMlp(const MlpWeights& weights, std::shared_ptr<Communicator> comm) {
  const auto fits = [](const at::Tensor& weight, const at::Tensor& bias) {
    return weight.dim() == 2 && (!bias.defined() || (bias.dim() == 1 && bias.size(0) == weight.size(0)));
  };
  if (!fits(weights.weight1_HI, weights.bias1_H) || !fits(weights.weight2_OH, weights.bias2_O) ||
      weights.weight2_OH.size(1) != weights.weight1_HI.size(0)) {
    throw ContractError("MakeFusedMlp: the weights are [H, I] and [O, H], the biases [H] and [O]");
  }
  return std::make_shared<FusedMlp>(weights, comm);
}

}  // namespace shardlab
