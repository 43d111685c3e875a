#include "shardlab/pipeline/stage.hpp"

#include <algorithm>
#include <list>

#include <torch/torch.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

namespace {

struct UnderWay {
  int number;
  StageModule* module;
  std::vector<at::Tensor> given;
  std::vector<at::Tensor> made;
};

class GradStage final : public Stage {
 public:
  Tensors Forward(int number, const MicroBatch& at, const Tensors& inputs, StageModule& module) override {
    if (Find(number) != all_.end()) throw ContractError("the micro-batch is under way already");
    UnderWay one{number, &module, {}, {}};
    for (const at::Tensor& input : inputs) {
      at::Tensor leaf = input.detach();
      if (input.requires_grad()) leaf.requires_grad_();
      one.given.push_back(leaf);
    }
    one.made = module.Forward(one.given, at);
    Tensors outputs;
    for (const at::Tensor& made : one.made) {
      outputs.push_back(made.detach());
      if (made.requires_grad()) outputs.back().requires_grad_();
    }
    all_.push_back(std::move(one));
    return outputs;
  }

  Tensors Backward(int number, const Tensors& gradients) override {
    const auto found = Find(number);
    if (found == all_.end()) throw ContractError("the micro-batch is not under way");
    if (!gradients.empty() && gradients.size() != found->made.size()) throw ContractError("a gradient an output");
    const UnderWay one = std::move(*found);
    all_.erase(found);

    Tensors from, seeds, wanted, parameters;
    for (size_t i = 0; i < one.made.size(); ++i) {
      if (!one.made[i].requires_grad()) continue;
      const at::Tensor seed = gradients.empty() ? at::ones_like(one.made[i]) : gradients[i];
      if (!seed.defined()) continue;
      from.push_back(one.made[i]);
      seeds.push_back(seed);
    }
    for (const at::Tensor& leaf : one.given) {
      if (leaf.requires_grad()) wanted.push_back(leaf);
    }
    for (const at::Tensor& parameter : one.module->parameters()) {
      if (parameter.requires_grad()) parameters.push_back(parameter);
    }
    const size_t inputs = wanted.size();
    wanted.insert(wanted.end(), parameters.begin(), parameters.end());
    Tensors found_gradients(wanted.size());
    if (!from.empty() && !wanted.empty()) {
      found_gradients = torch::autograd::grad(from, wanted, seeds, /*retain_graph=*/false, /*create_graph=*/false,
                                              /*allow_unused=*/true);
    }
    for (size_t i = 0; i < parameters.size(); ++i) {
      const at::Tensor& gradient = found_gradients[inputs + i];
      if (!gradient.defined()) continue;
      at::Tensor& sum = parameters[i].mutable_grad();
      sum = sum.defined() ? sum + gradient : gradient.clone();
    }
    Tensors result;
    size_t next = 0;
    for (const at::Tensor& leaf : one.given) {
      if (!leaf.requires_grad()) {
        result.emplace_back();
        continue;
      }
      const at::Tensor& gradient = found_gradients[next++];
      result.push_back(gradient.defined() ? gradient : at::zeros_like(leaf));
    }
    return result;
  }

  void Forget(int number) override {
    const auto found = Find(number);
    if (found != all_.end()) all_.erase(found);
  }
  int Live() const override { return static_cast<int>(all_.size()); }

 private:
  std::list<UnderWay>::iterator Find(int number) {
    return std::find_if(all_.begin(), all_.end(), [=](const UnderWay& one) { return one.number == number; });
  }

  std::list<UnderWay> all_;
};

}  // namespace

std::unique_ptr<Stage> MakeStage() { return std::make_unique<GradStage>(); }

}  // namespace shardlab
