#include "shardlab/pipeline/stage.hpp"

#include <map>
#include <utility>

#include <torch/torch.h>

#include <fmt/format.h>

#include "shardlab/base/errors.hpp"

// What is kept of a micro-batch between its forward and its backward is both ends of its graph:
//
//     given      x      -- detach -->  (1) leaf --[ layers ]--> (2) root  -- detach -->  y     returned
//
// (1) The leaf has the memory of x and its own place for a gradient. Without it the graph would go on into whatever
// made x, and where stages share a process backward would run through all of them at once. (2) The root holds the
// graph, and with it every activation that backward needs. y has the same memory and no graph, so whoever keeps y keeps
// one tensor.

namespace shardlab {

namespace {

class WholeStage final : public Stage {
 public:
  Tensors Forward(int number, const MicroBatch& at, const Tensors& inputs, StageModule& module) override {
    if (live_.count(number) != 0) throw ContractError(fmt::format("micro-batch {} is under way already", number));
    InFlight flight;
    for (const at::Tensor& x : inputs) flight.leaves.push_back(Detached(x));  // (1)
    flight.roots = module.Forward(flight.leaves, at);                         // (2)
    Tensors outputs;
    for (const at::Tensor& root : flight.roots) outputs.push_back(Detached(root));
    live_.emplace(number, std::move(flight));
    return outputs;
  }

  Tensors Backward(int number, const Tensors& gradients) override {
    const auto found = live_.find(number);
    if (found == live_.end()) throw ContractError(fmt::format("micro-batch {} is not under way", number));
    InFlight flight = std::move(found->second);
    live_.erase(found);
    if (!gradients.empty() && gradients.size() != flight.roots.size()) {
      throw ContractError(fmt::format("{} gradients were given for {} outputs", gradients.size(), flight.roots.size()));
    }

    Tensors roots, root_gradients;
    for (size_t i = 0; i < flight.roots.size(); ++i) {
      const at::Tensor& root = flight.roots[i];
      const at::Tensor gradient = gradients.empty() ? at::ones_like(root) : gradients[i];
      if (!root.requires_grad() || !gradient.defined()) continue;
      roots.push_back(root);
      root_gradients.push_back(gradient);
    }
    flight.roots.clear();
    if (!roots.empty()) torch::autograd::backward(roots, root_gradients);

    Tensors input_gradients;
    for (const at::Tensor& leaf : flight.leaves) {
      at::Tensor gradient;
      if (leaf.requires_grad()) gradient = leaf.grad().defined() ? leaf.grad() : at::zeros_like(leaf);
      input_gradients.push_back(gradient);
    }
    return input_gradients;
  }

  void Forget(int number) override { live_.erase(number); }
  int Live() const override { return static_cast<int>(live_.size()); }

 private:
  struct InFlight {
    Tensors leaves;
    Tensors roots;
  };

  static at::Tensor Detached(const at::Tensor& tensor) {
    return tensor.detach().set_requires_grad(tensor.requires_grad());
  }

  std::map<int, InFlight> live_;
};

}  // namespace

std::unique_ptr<Stage> MakeStage() { return std::make_unique<WholeStage>(); }

}  // namespace shardlab
