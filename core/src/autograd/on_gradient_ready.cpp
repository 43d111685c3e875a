#include "shardlab/autograd/on_gradient_ready.hpp"

#include <utility>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {
namespace {

// Runs after the graph's node that adds to parameter.grad().
class AfterAccumulation final : public torch::autograd::FunctionPostHook {
 public:
  AfterAccumulation(at::Tensor parameter, std::function<void(const at::Tensor&)> callback)
      : parameter_(std::move(parameter)), callback_(std::move(callback)) {}

  torch::autograd::variable_list operator()(const torch::autograd::variable_list& outputs,
                                            const torch::autograd::variable_list& /*inputs*/) override {
    callback_(parameter_.grad());
    return outputs;
  }

 private:
  at::Tensor parameter_;
  std::function<void(const at::Tensor&)> callback_;
};

}  // namespace

struct GradientHook::Impl {
  // The parameter itself holds its accumulator only weakly: without this the hook would go with the graph.
  std::shared_ptr<torch::autograd::Node> accumulator;
  uintptr_t key = 0;

  ~Impl() { accumulator->del_post_hook(key); }
};

GradientHook::GradientHook(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GradientHook::GradientHook(GradientHook&&) noexcept = default;
GradientHook& GradientHook::operator=(GradientHook&&) noexcept = default;
GradientHook::~GradientHook() = default;

GradientHook OnGradientReady(const at::Tensor& parameter, std::function<void(const at::Tensor&)> callback) {
  if (!parameter.defined() || !parameter.is_leaf() || !parameter.requires_grad()) {
    throw ContractError("OnGradientReady: the tensor must be a leaf that requires a gradient, as a parameter is");
  }
  auto impl = std::make_unique<GradientHook::Impl>();
  impl->accumulator = torch::autograd::impl::grad_accumulator(parameter);
  impl->key = impl->accumulator->add_post_hook(std::make_unique<AfterAccumulation>(parameter, std::move(callback)));
  return GradientHook(std::move(impl));
}

}  // namespace shardlab
