#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

#include <fmt/format.h>
#include <torch/torch.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/pipeline/stage.hpp"

// Autograd computes no more than it is asked for. Asked for the gradients of the tensors between the layers it leaves
// all weights out; asked, from those tensors on, for the weights of one layer it goes no further back than that layer.
//
//     leaf --[ layer 0 ]-- h0 --[ layer 1 ]-- h1 --[ layer 2 ]-- h2 = root
//
//     I   from the root to leaf, h0, h1:   d(leaf) <--- d(h0) <--- d(h1) <--- d(h2)      (1)
//     W   from each h into its layer:      dw0 <- d(h0)   dw1 <- d(h1)   dw2 <- d(h2)    (2)
//
// (1) keeps the graph: the weight gradients need the same activations. (2) lets go of it, layer by layer.

namespace shardlab {

namespace {

using torch::autograd::grad;

// Tensors with a gradient each.
struct Cut {
  Tensors tensors;
  Tensors gradients;
};

// What AccumulateGrad does: a gradient that nobody else holds becomes the sum's first summand, any other a copy of it.
void Accumulate(at::Tensor& parameter, at::Tensor gradient) {
  if (!gradient.defined()) return;
  const at::NoGradGuard no_grad;
  if (parameter.grad().defined()) {
    parameter.mutable_grad().add_(gradient);
  } else {
    parameter.mutable_grad() = gradient.clone();
  }
}

class SplitStage final : public Stage {
 public:
  Tensors Forward(int number, const MicroBatch& at, const Tensors& inputs, StageModule& module) override {
    if (live_.count(number) != 0) throw ContractError(fmt::format("micro-batch {} is under way already", number));
    InFlight flight;
    flight.module = &module;
    for (const at::Tensor& x : inputs) flight.leaves.push_back(Detached(x));
    flight.roots = module.Forward(flight.leaves, at, &flight.trace);
    Tensors outputs;
    for (const at::Tensor& root : flight.roots) outputs.push_back(Detached(root));
    live_.emplace(number, std::move(flight));
    return outputs;
  }

  Tensors BackwardInput(int number, const Tensors& gradients) override {
    InFlight& flight = Find(number);
    if (!gradients.empty() && gradients.size() != flight.roots.size()) {
      throw ContractError(fmt::format("{} gradients were given for {} outputs", gradients.size(), flight.roots.size()));
    }
    Cut from;
    for (size_t i = 0; i < flight.roots.size(); ++i) {
      const at::Tensor& root = flight.roots[i];
      const at::Tensor gradient = gradients.empty() ? at::ones_like(root) : gradients[i];
      if (!root.requires_grad() || !gradient.defined()) continue;
      from.tensors.push_back(root);
      from.gradients.push_back(gradient);
    }

    // (1)
    Tensors places;
    const auto add = [&](const Tensors& tensors) {
      std::copy_if(tensors.begin(), tensors.end(), std::back_inserter(places),
                   [](const at::Tensor& tensor) { return tensor.requires_grad(); });
    };
    add(flight.leaves);
    for (const Tensors& returned : flight.trace.returned) add(returned);
    std::map<const void*, at::Tensor> gradient_of;
    if (!from.tensors.empty() && !places.empty()) {
      const Tensors found = grad(from.tensors, places, from.gradients, /*retain_graph=*/true, /*create_graph=*/false,
                                 /*allow_unused=*/true);
      for (size_t i = 0; i < places.size(); ++i) gradient_of[places[i].unsafeGetTensorImpl()] = found[i];
    }

    for (const Tensors& returned : flight.trace.returned) {
      Cut cut;
      for (const at::Tensor& tensor : returned) {
        const at::Tensor gradient = gradient_of[tensor.unsafeGetTensorImpl()];
        if (!gradient.defined()) continue;
        cut.tensors.push_back(tensor);
        cut.gradients.push_back(gradient);
      }
      flight.cuts.push_back(std::move(cut));
    }
    Tensors input_gradients;
    for (const at::Tensor& leaf : flight.leaves) {
      at::Tensor gradient = gradient_of[leaf.unsafeGetTensorImpl()];
      if (leaf.requires_grad() && !gradient.defined()) gradient = at::zeros_like(leaf);
      input_gradients.push_back(gradient);
    }
    flight.roots.clear();
    flight.trace.returned.clear();
    return input_gradients;
  }

  void BackwardWeight(int number) override {
    InFlight flight = std::move(Find(number));
    live_.erase(number);
    const std::vector<Tensors> parameters = flight.module->LayerParameters();
    for (size_t layer = 0; layer < parameters.size() && layer < flight.cuts.size(); ++layer) {
      Tensors wanted;
      for (const at::Tensor& parameter : parameters[layer]) {
        if (parameter.requires_grad()) wanted.push_back(parameter);
      }
      Cut cut = std::move(flight.cuts[layer]);
      if (wanted.empty() || cut.tensors.empty()) continue;
      const Tensors found = grad(cut.tensors, wanted, cut.gradients, /*retain_graph=*/false, /*create_graph=*/false,
                                 /*allow_unused=*/true);  // (2)
      for (size_t i = 0; i < wanted.size(); ++i) Accumulate(wanted[i], found[i]);
    }
  }

  Tensors Backward(int number, const Tensors& gradients) override {
    Tensors input_gradients = BackwardInput(number, gradients);
    BackwardWeight(number);
    return input_gradients;
  }

  void Forget(int number) override { live_.erase(number); }
  int Live() const override { return static_cast<int>(live_.size()); }

 private:
  struct InFlight {
    StageModule* module = nullptr;
    Tensors leaves;
    Tensors roots;
    StageTrace trace;
    std::vector<Cut> cuts;  // behind each layer, once the input half is done
  };

  static at::Tensor Detached(const at::Tensor& tensor) {
    return tensor.detach().set_requires_grad(tensor.requires_grad());
  }

  InFlight& Find(int number) {
    const auto found = live_.find(number);
    if (found == live_.end()) throw ContractError(fmt::format("micro-batch {} is not under way", number));
    return found->second;
  }

  std::map<int, InFlight> live_;
};

}  // namespace

std::unique_ptr<Stage> MakeSplitStage() { return std::make_unique<SplitStage>(); }

}  // namespace shardlab
