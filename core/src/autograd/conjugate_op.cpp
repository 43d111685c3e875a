#include "shardlab/autograd/conjugate_op.hpp"

#include <utility>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/comm/operation.hpp"

namespace shardlab {
namespace {

using Tensors = std::vector<at::Tensor>;

// What backward needs to know of the inputs, without keeping them alive.
struct InputInfo {
  std::vector<int64_t> sizes;
  at::TensorOptions options;
};

struct Held : torch::CustomClassHolder {
  MultiConjugateOp op;
  std::vector<InputInfo> inputs;
};

void CheckInputsUntouched(const std::string& name, const Tensors& inputs, const std::vector<int64_t>& versions) {
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (static_cast<int64_t>(inputs[i]._version()) != versions[i]) {
      throw ContractError(
          fmt::format("{}: forward changed its input{} in place; others still use it: work on a copy (x.clone())", name,
                      inputs.size() == 1 ? "" : fmt::format(" {}", i)));
    }
  }
}

void CheckOutputs(const std::string& name, const Tensors& inputs, const Tensors& outputs) {
  for (const at::Tensor& output : outputs) {
    if (!output.defined()) throw ContractError(fmt::format("{}: forward returned an undefined tensor", name));
    for (const at::Tensor& input : inputs) {
      if (output.numel() > 0 && output.is_alias_of(input)) {
        throw ContractError(fmt::format(
            "{}: forward returned {}, {}: autograd could not tell the two apart; return a copy (y.clone())", name,
            output.is_same(input) ? "its input itself" : "its input or a view of it", Describe(output)));
      }
    }
  }
}

class Bridge : public torch::autograd::Function<Bridge> {
 public:
  static Tensors forward(torch::autograd::AutogradContext* context, at::TensorList with_anchor,
                         const c10::intrusive_ptr<Held>& held) {
    // The last tensor is the anchor, which no function sees.
    Tensors inputs;
    std::vector<int64_t> versions;
    for (const at::Tensor& input : with_anchor.slice(0, with_anchor.size() - 1)) {
      inputs.push_back(input.detach());
      versions.push_back(static_cast<int64_t>(inputs.back()._version()));
      held->inputs.push_back({input.sizes().vec(), input.options()});
    }
    context->saved_data["held"] = c10::IValue::make_capsule(held);
    Tensors outputs = held->op.forward(inputs);
    CheckInputsUntouched(held->op.name, inputs, versions);
    CheckOutputs(held->op.name, inputs, outputs);
    return outputs;
  }

  static Tensors backward(torch::autograd::AutogradContext* context, const Tensors& gradients) {
    const auto held = c10::static_intrusive_pointer_cast<Held>(context->saved_data["held"].toCapsule());
    const std::string& name = held->op.name;
    if (c10::GradMode::is_enabled()) {
      throw ContractError(fmt::format("{}: its backward cannot be differentiated again", name));
    }
    Tensors own;
    for (const at::Tensor& gradient : gradients) {
      own.push_back(gradient.detach().clone(at::MemoryFormat::Contiguous));
    }
    Tensors results = held->op.backward(own);
    if (results.size() != held->inputs.size()) {
      throw ContractError(
          fmt::format("{}: backward returned {} gradients for {} inputs", name, results.size(), held->inputs.size()));
    }
    for (size_t i = 0; i < results.size(); ++i) {
      const InputInfo& input = held->inputs[i];
      if (!results[i].defined()) {
        if (results.size() > 1) continue;
        throw ContractError(fmt::format("{}: backward returned an undefined gradient", name));
      }
      if (results[i].sizes() != at::IntArrayRef(input.sizes) ||
          results[i].scalar_type() != c10::typeMetaToScalarType(input.options.dtype())) {
        throw ContractError(fmt::format("{}: backward returned {} as the gradient of an input that is {}", name,
                                        Describe(results[i]), Describe(at::empty(input.sizes, input.options))));
      }
    }
    results.emplace_back();  // of the anchor
    results.emplace_back();  // of `held`
    return results;
  }
};

Tensors ApplyChecked(MultiConjugateOp op, const Tensors& inputs) {
  if (!op.forward || !op.backward) {
    throw ContractError(fmt::format("{}: a ConjugateOp needs a forward and a backward", op.name));
  }
  for (const at::Tensor& input : inputs) {
    if (!input.defined()) throw ContractError(fmt::format("{}: its input is an undefined tensor", op.name));
  }
  // An input that needs a gradient brings backward into the graph also where none of the others does.
  Tensors with_anchor = inputs;
  with_anchor.push_back(at::empty({0}));
  if (op.always) with_anchor.back().set_requires_grad(true);
  auto held = c10::make_intrusive<Held>();
  held->op = std::move(op);
  return Bridge::apply(at::TensorList(with_anchor), held);
}

}  // namespace

at::Tensor Apply(const ConjugateOp& op, const at::Tensor& x) {
  MultiConjugateOp multi;
  multi.name = op.name;
  multi.always = op.always;
  if (op.forward) multi.forward = [forward = op.forward](const Tensors& inputs) { return Tensors{forward(inputs[0])}; };
  if (op.backward) {
    multi.backward = [backward = op.backward](const Tensors& gradients) { return Tensors{backward(gradients[0])}; };
  }
  return ApplyChecked(std::move(multi), {x})[0];
}

std::vector<at::Tensor> Apply(const MultiConjugateOp& op, const std::vector<at::Tensor>& inputs) {
  return ApplyChecked(op, inputs);
}

}  // namespace shardlab
